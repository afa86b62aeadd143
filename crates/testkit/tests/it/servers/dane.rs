//! DANE (RFC 7672) towards a real Postfix, by zones that Knot has signed and Unbound has judged: what a host's TLSA records ask
//! for decides whether it gets mail. Not responsible for every case: `outbound` has a matrix of them.

use std::path::Path;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use mailtier_testkit::installation::{Installation, Plan, pause};

use super::content::message;
use super::postfix;
use super::sandbox::{self, NAME};
use super::submission::Submission;
use super::{LIMIT, Places};
use crate::signed::Zones;

/// Usage, selector and matching type of a record, and which of the server's certificates it speaks of.
type Tlsa = (&'static str, usize);
/// A domain, the record of its exchanger, and what the history then says.
type Row = (&'static str, Option<Tlsa>, [&'static str; 2]);

const ROWS: [Row; 7] = [
    ("ee.signed.test", Some(("3 0 1", 0)), ["delivered", " dane-ee\""]),
    ("ta.signed.test", Some(("2 0 1", 1)), ["delivered", " dane-ta\""]),
    ("name.signed.test", Some(("2 0 1", 1)), ["deferred", "the certificate is not for mx.name.signed.test"]),
    ("issuer.signed.test", Some(("3 0 1", 1)), ["deferred", "no TLSA record of the host fits the certificate"]),
    ("hidden.signed.test", Some(("3 0 1", 0)), ["deferred", "dsn=4.4.3 (TLSA records of mx.hidden.signed.test: "]),
    ("none.signed.test", None, ["delivered", "tls=\"TLSv1.3 TLS_AES_128_GCM_SHA256\""]),
    ("unsigned.plain.test", Some(("3 0 1", 1)), ["delivered", "tls=\"TLSv1.3 TLS_AES_128_GCM_SHA256\""]),
];

#[test]
fn postfix_gets_what_its_records_allow() {
    if !sandbox::is_possible() {
        println!("nothing is tested: mail servers are started by root alone, where namespaces and mounts may be made");
        return;
    }
    let places = Places::free(Path::new("/nonexistent"));
    let server = postfix::start(&places);
    let certificates = server.certificates();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lines = records(&certificates, places.postfix.port());
    let zones = runtime.block_on(Zones::start(&lines, &["_tcp.mx.hidden.signed.test"]));
    let plan = Plan::new(places.postfix)
        .by_dns(&[".test"])
        .set("outbound", "dns_servers", format!("[\"{}\"]", zones.resolver))
        .set("outbound", "smtp_port", places.postfix.port().to_string())
        .set("outbound", "allow_private_addresses", "true");
    let installation = Installation::start(&plan).unwrap();
    let ids = ROWS.map(|(domain, ..)| {
        let recipient = format!("<reader@{domain}>");
        let content = message(domain, "", b"Hello.\r\n");
        let submission =
            Submission { mail: "<sender@plain.test>", recipients: &[&recipient], content: &content, client: None };
        submission.send(installation.smtp())
    });
    for ((domain, _, words), id) in ROWS.iter().zip(&ids) {
        let started = Instant::now();
        loop {
            let told = installation.mailtier(&["trace", id]).unwrap();
            if told.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                assert!(words[0] == "delivered" || !told.contains(" delivered "), "{domain}:\n{told}");
                break;
            }
            assert!(started.elapsed() < LIMIT, "{domain}: {words:?} are not in\n{told}");
            pause();
        }
    }
}

/// What DNS says of the rows; a digest is of the certificate.
fn records(certificates: &[Vec<u8>], port: u16) -> Vec<String> {
    assert!(ROWS.iter().any(|(domain, ..)| NAME == format!("mx.{domain}")), "{NAME} is whom the certificate is for");
    let of_row = |(domain, tlsa, _): &Row| {
        let own = tlsa.map(|(numbers, place)| {
            let octets = digest(&SHA256, &certificates[place]);
            let data: String = octets.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
            format!("_{port}._tcp.mx.{domain}. TLSA {numbers} {data}")
        });
        let host = [format!("{domain}. MX 10 mx.{domain}."), format!("mx.{domain}. A 127.0.0.1")];
        host.into_iter().chain(own).collect::<Vec<_>>()
    };
    ROWS.iter().flat_map(of_row).collect()
}
