//! A web server over TLS that answers each request by a function of its head and its body, and then closes.

use std::sync::Arc;

use mailtier_tls::ServerTls;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;

/// Its port.
pub(crate) async fn serve(
    tls: Arc<ServerTls>,
    answer: impl Fn(&str, Vec<u8>) -> String + Send + Sync + 'static,
) -> u16 {
    let answer = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answer) = (tls.acceptor(), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let mut stream = BufStream::new(stream);
                let (mut head, mut line) = (String::new(), String::new());
                while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
                    head.push_str(&std::mem::take(&mut line));
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                stream.read_exact(&mut body).await.unwrap();
                let _ = stream.write_all(answer(&head, body).as_bytes()).await;
                let _ = stream.flush().await;
            });
        }
    });
    port
}
