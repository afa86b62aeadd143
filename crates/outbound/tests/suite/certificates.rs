//! TLS from the first octet, and certificates that hosts are shown.

use std::path::PathBuf;
use std::sync::Arc;

use mailtier_config::{Config, Secret, TlsPolicy};
use mailtier_tls::{CertificateFiles, ServerTls};
use mailtier_types::{Cause, Stage, TroubleKind};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::tls::server_tls;
use crate::world::{Worker, letter, only, smarthost};

/// An authority for clients, a server that believes it, and certificates of clients.
struct Authority {
    folder: TempDir,
    server: Arc<ServerTls>,
}

impl Authority {
    fn new(clients: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let authority_key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "authority");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(path("ca.pem"), parameters.self_signed(&authority_key).unwrap().pem()).unwrap();
        for client in clients {
            let key = KeyPair::generate().unwrap();
            let mut own = CertificateParams::new(vec![format!("{client}.example")]).unwrap();
            own.distinguished_name.push(DnType::CommonName, *client);
            let issued = own.signed_by(&key, &Issuer::from_params(&parameters, &authority_key)).unwrap();
            std::fs::write(path(&format!("{client}.pem")), issued.pem()).unwrap();
            std::fs::write(path(&format!("{client}.key")), key.serialize_pem()).unwrap();
        }
        let own = rcgen::generate_simple_self_signed(vec!["peer.example".to_owned()]).unwrap();
        std::fs::write(path("own.pem"), own.cert.pem()).unwrap();
        std::fs::write(path("own.key"), own.signing_key.serialize_pem()).unwrap();
        let files = CertificateFiles { certificate: path("own.pem"), key: path("own.key") };
        let server = ServerTls::load(&[files], Some(&path("ca.pem"))).unwrap();
        Self { folder, server }
    }

    fn files(&self, client: &str) -> (Option<PathBuf>, Option<PathBuf>) {
        let path = |ending: &str| Some(self.folder.path().join(format!("{client}.{ending}")));
        (path("pem"), path("key"))
    }
}

fn in_tls(config: &mut Config, peer: &Peer) {
    smarthost(config, peer);
    let route = &mut config.outbound.routes[0];
    (route.implicit_tls, route.tls) = (Some(true), Some(TlsPolicy::Required));
}

#[tokio::test]
async fn a_smarthost_that_speaks_tls_alone_is_logged_in_at() {
    let script = Script::new().implicit_tls(server_tls()).extension("AUTH PLAIN");
    let peer = Peer::start(script.on("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 in").on("AUTH", "535 no")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        in_tls(config, &peer);
        let route = &mut config.outbound.routes[0];
        (route.user, route.password) = (Some("user".to_owned()), Some(Secret::new("secret".to_owned())));
    })
    .await;
    for _ in 0..2 {
        let result = queue.deliver(letter(&["a@d.example"])).await;
        assert!(only(&result).is_delivered(), "{result:?}");
        assert!(only(&result).tls.as_deref().unwrap().starts_with("TLSv1.3 "));
    }
    let seen = peer.seen();
    assert_eq!(seen.sessions, 1);
    let verbs: Vec<_> = seen.commands.iter().filter_map(|command| command.split([' ', ':']).next()).take(3).collect();
    assert_eq!(verbs, ["EHLO", "AUTH", "MAIL"], "no STARTTLS");
    assert!(seen.taken.iter().all(|taken| taken.tls));
}

#[tokio::test]
async fn the_proof_is_asked_for_as_with_starttls_and_nothing_goes_out_in_clear() {
    for (script, tls, expected) in [
        (
            Script::new().implicit_tls(server_tls()),
            None,
            "no authority that this system trusts has issued the certificate",
        ),
        (Script::new(), Some(TlsPolicy::Required), "TLS handshake failed: "),
        (Script::new(), None, "TLS handshake failed: "),
    ] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let roots = Authority::new(&[]);
        let _worker = Worker::start(&queue, |config| {
            in_tls(config, &peer);
            config.outbound.routes[0].tls = tls;
            config.outbound.trusted_roots = Some(roots.folder.path().join("ca.pem"));
        })
        .await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((outcome.stage, trouble.kind), (Stage::StartTls, TroubleKind::Tls), "{outcome}");
        assert!(trouble.text.starts_with(expected), "{outcome}");
        let seen = peer.seen();
        assert!(!seen.commands.iter().any(|command| command.starts_with("EHLO") || command.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn each_route_shows_its_own_certificate_over_connections_of_its_own() {
    let authority = Authority::new(&["one", "two", "pool"]);
    let peer = Peer::start(Script::new().with_tls(Arc::clone(&authority.server))).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.pools = vec![mailtier_config::EgressPoolConfig {
            name: "default".to_owned(),
            ..mailtier_config::EgressPoolConfig::default()
        }];
        let pool = &mut config.outbound.pools[0];
        (pool.client_certificate, pool.client_key) = authority.files("pool");
        let plain = config.outbound.routes[0].clone();
        for name in ["one", "two"] {
            let mut route = plain.clone();
            route.domain = Some(format!("{name}.example"));
            (route.client_certificate, route.client_key) = authority.files(name);
            config.outbound.routes.push(route);
        }
    })
    .await;
    for to in ["a@one.example", "a@two.example", "a@other.example", "b@one.example", "b@two.example", "b@other.example"]
    {
        let result = queue.deliver(letter(&[to])).await;
        assert!(only(&result).is_delivered(), "{result:?}");
    }
    let seen = peer.seen();
    assert_eq!(seen.shown, ["one", "two", "pool"].map(|name| Some(name.to_owned())));
    let sessions: Vec<_> = seen.taken.iter().map(|taken| taken.session).collect();
    assert_eq!(sessions, [1, 2, 3, 1, 2, 3]);
}

#[tokio::test]
async fn a_certificate_logs_in_where_the_route_says_so() {
    let authority = Authority::new(&["one"]);
    let script = Script::new().implicit_tls(Arc::clone(&authority.server)).extension("AUTH EXTERNAL PLAIN");
    let peer = Peer::start(script.on("AUTH EXTERNAL =", "235 2.7.0 in").on("AUTH", "535 no")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        in_tls(config, &peer);
        let route = &mut config.outbound.routes[0];
        (route.client_certificate, route.client_key) = authority.files("one");
        route.sasl_mechanisms = vec!["EXTERNAL".to_owned()];
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    assert_eq!(peer.seen().shown, [Some("one".to_owned())]);
}
