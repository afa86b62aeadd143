//! Reports of TLS that are posted over HTTPS, to a real server.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mailtier_api::tls::TlsReportPost;
use mailtier_tls::ServerTls;

use crate::dns::{NameServer, addresses};
use crate::identity::{Certificates, worker};
use crate::queue::Queue;
use crate::web;
use crate::world::{letter, with_tls_reports};

/// Head and body of each request.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Takes what is posted to `/r`.
async fn serve(tls: Arc<ServerTls>) -> (u16, Requests) {
    let requests = Requests::default();
    let taken = Arc::clone(&requests);
    let port = web::serve(tls, move |head, body| {
        let status = if head.starts_with("POST /r ") { "204 No Content" } else { "302 Found\r\nlocation: /r" };
        taken.lock().unwrap().push((head.to_owned(), body));
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    });
    (port.await, requests)
}

#[tokio::test]
async fn a_report_is_posted_to_where_the_domain_wants_it_and_nowhere_else() {
    let certificates = Certificates::new();
    let (port, requests) = serve(certificates.issued("reports", vec!["reports.d.test".to_owned()])).await;
    let names = NameServer::start([
        ("reports.d.test", addresses(&["127.0.0.1"])),
        ("stranger.d.test", addresses(&["127.0.0.1"])),
    ])
    .await;
    let queue = Queue::start().await;
    let body = Bytes::from_static(b"packed");
    let uris = [
        format!("https://reports.d.test:{port}/r"),
        format!("https://reports.d.test:{port}/elsewhere"),
        format!("https://stranger.d.test:{port}/r"),
        format!("http://reports.d.test:{port}/r"),
        "https://missing.d.test/r".to_owned(),
    ];
    for (id, uri) in (1..).zip(uris) {
        queue.post(TlsReportPost { id, uri, body: body.clone() });
    }
    let _worker = worker(&queue, (names.address, 25), &certificates, with_tls_reports).await;
    let mut posted = queue.until(|told| told.posted.len() == 5).await.posted;
    posted.sort_unstable();
    assert_eq!(posted[0], (1, None));
    assert_eq!(posted[1], (2, Some("the server answered 302".to_owned())), "a redirect is not followed");
    assert!(posted[2..].iter().all(|(_, problem)| problem.is_some()), "{posted:?}");
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2, "who is not known by its certificate gets nothing: {requests:?}");
    let (head, sent) = requests.iter().find(|(head, _)| head.starts_with("POST /r ")).unwrap();
    assert!(head.contains("content-type: application/tlsrpt+gzip\r\n") && *sent == body, "{head}");
}

#[tokio::test]
async fn a_report_is_not_posted_into_our_own_networks() {
    let certificates = Certificates::new();
    let (port, requests) = serve(certificates.issued("reports", vec!["reports.d.test".to_owned()])).await;
    let names = NameServer::start([("reports.d.test", addresses(&["127.0.0.1"]))]).await;
    let queue = Queue::start().await;
    for (id, host) in (1..).zip(["reports.d.test", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"]) {
        queue.post(TlsReportPost { id, uri: format!("https://{host}:{port}/r"), body: Bytes::from_static(b"x") });
    }
    let guarded = |config: &mut mailtier_config::Config| {
        with_tls_reports(config);
        config.outbound.allow_private_addresses = false;
    };
    let _worker = worker(&queue, (names.address, 25), &certificates, guarded).await;
    let posted = queue.until(|told| told.posted.len() == 4).await.posted;
    let is_refused =
        |problem: &Option<String>| problem.as_ref().is_some_and(|text| text.contains("private or reserved"));
    assert!(posted.iter().all(|(_, problem)| is_refused(problem)), "{posted:?}");
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn reports_are_posted_from_the_moment_on_when_they_are_configured() {
    let certificates = Certificates::new();
    let (port, requests) = serve(certificates.issued("reports", vec!["reports.d.test".to_owned()])).await;
    let names = NameServer::start([("reports.d.test", addresses(&["127.0.0.1"]))]).await;
    let queue = Queue::start().await;
    let uri = format!("https://reports.d.test:{port}/r");
    queue.post(TlsReportPost { id: 1, uri, body: Bytes::from_static(b"packed") });
    let worker = worker(&queue, (names.address, 25), &certificates, |_| {}).await;
    queue.deliver(letter(&["a@missing.d.test"])).await;
    assert_eq!(queue.told().posted, [], "it has been at work for a while");
    worker.reload(with_tls_reports).unwrap();
    let posted = queue.until(|told| !told.posted.is_empty()).await.posted;
    assert_eq!((posted, requests.lock().unwrap().len()), (vec![(1, None)], 1));
}
