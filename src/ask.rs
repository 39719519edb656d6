//! Requests over connections that are kept for the next one.
//!
//! A server closes a connection that it takes for idle (uvicorn and Node after 5 s, about as long as a turn takes) and may do
//! so while the next request is on its way. That says nothing of the request: it is sent once more.

use reqwest::{RequestBuilder, Response};

/// Sends what `request` makes; a second time if the connection ended before anything came back.
pub(crate) async fn ask(request: impl Fn() -> RequestBuilder) -> reqwest::Result<Response> {
    match request().send().await {
        Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => request().send().await,
        sent => sent,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers so many requests on a connection and hangs up at the next one. Counts requests.
    async fn hangs_up_after(answered: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                for n in 0.. {
                    let mut head = [0; 4_096];
                    if socket.read(&mut head).await.unwrap() == 0 {
                        break;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    if n == answered {
                        break;
                    }
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
                }
            }
        });
        (url, count)
    }

    #[tokio::test]
    async fn a_kept_connection_that_ends_costs_no_answer() {
        let (url, asked) = hangs_up_after(1).await;
        let client = reqwest::Client::new();
        for _ in 0..3 {
            let text = ask(|| client.get(&url)).await.unwrap().text().await.unwrap();
            assert_eq!(text, "ok");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 5, "the second and the third met a closed door first");
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_asked_twice_and_no_more() {
        let (url, asked) = hangs_up_after(0).await;
        let client = reqwest::Client::new();
        assert!(ask(|| client.get(&url)).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
