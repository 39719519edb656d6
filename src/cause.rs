//! What lies at the bottom of an error: `Connection refused` says more than "error sending request".

/// The innermost reason.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
