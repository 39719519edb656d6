//! The body of an HTTP answer, with its size bounded.

use bytes::Bytes;
use reqwest::Response;
use serde_json::Value;

use super::Fault;

/// Largest answer that is not sound: an error, a list of parameters.
const LARGEST_TEXT: usize = 1 << 20;

/// All of the body, if it is not absurdly long.
pub(super) async fn text(mut response: Response) -> Result<Vec<u8>, Fault> {
    let mut all = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        all.extend_from_slice(&bytes);
        if all.len() > LARGEST_TEXT {
            return Err(Fault::Garbled("more text than any answer needs"));
        }
    }
    Ok(all)
}

/// The body as JSON.
pub(super) async fn json(response: Response) -> Result<Value, Fault> {
    serde_json::from_slice(&text(response).await?).map_err(|_| Fault::Garbled("no JSON where some was due"))
}

/// The name of the error in the JSON that services send in place of sound; empty if they give none.
pub(super) fn error_code(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let places = ["/error/code", "/error/type", "/Response/Error/Code", "/code", "/detail/status", "/message", "/error"];
    let named = places.iter().filter_map(|place| match value.pointer(place)? {
        Value::String(name) => super::fault::short(name),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    named.into_iter().next().unwrap_or_default()
}

/// Whether the sound that `first` begins is an error in JSON: some services say 200 to everything.
pub(super) fn may_be_json(first: &Bytes) -> bool {
    first.starts_with(b"{\"") || first.starts_with(b"{\n") || first.starts_with(b"{ ")
}
