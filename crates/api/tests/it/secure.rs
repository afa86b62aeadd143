//! Over TLS: who may call what, and what who may not is told.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mailtier_api::{ClusterTls, Tier};
use mailtier_config::ClusterConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tempfile::TempDir;

use super::*;

/// The authority of an installation, and where its programs' files are.
struct Installation {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Installation {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority {}", ReplicaId::random()));
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let this = Self { authority, folder: TempDir::new().unwrap() };
        fs::write(this.path("ca.pem"), this.authority.pem()).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a program has, with a certificate for some roles.
    fn cluster(&self, roles: &[&str]) -> ClusterConfig {
        let name = roles.join("-");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = |role: &&str| SanType::URI(format!("spiffe://mailtier/{role}").try_into().unwrap());
        params.subject_alt_names = roles.iter().map(uri).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, private) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        fs::write(&certificate, params.signed_by(&key, &self.authority).unwrap().pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        ClusterConfig {
            tls_certificate: Some(certificate),
            tls_key: Some(private),
            tls_ca: Some(self.path("ca.pem")),
            ..ClusterConfig::default()
        }
    }

    fn of(&self, tier: Tier) -> Credentials {
        Credentials::configured(&self.cluster(&[tier.word()]), tier).unwrap()
    }
}

/// Every service once; whether each took the call, or why not.
async fn call_all(url: &str, shown: &Credentials) -> [(&'static str, Result<(), ApiError>); 5] {
    let submit = SubmitClient::connect(url, shown).await.unwrap();
    let accounts = AccountsClient::connect(url, shown).await.unwrap();
    let work = WorkClient::connect(url, shown).await.unwrap();
    let peer = PeerClient::connect(url, shown).await.unwrap();
    let (_frames, outgoing) = mpsc::channel(1);
    let hello = Hello { worker: WorkerId::random(), name: String::new(), pools: vec!["default".into()] };
    [
        ("Submit", submit.lease_node(ReplicaId::random()).await.map(|_| ())),
        ("Accounts", accounts.check_password("user", &secret("x"), "192.0.2.1").await.map(|_| ())),
        ("Work", work.session(hello, outgoing).await.map(|_| ())),
        ("Tls", work.tls().take_posts(WorkerId::random(), 1).await.map(|_| ())),
        ("Peer", peer.hint(Vec::new()).await),
    ]
}

#[tokio::test]
async fn each_role_may_call_its_services_and_no_other() {
    let installation = Installation::new();
    let running = serve_with(&installation.of(Tier::Queue)).await;
    let url = running.url.replace("http://", "https://");
    for (tier, allowed) in
        [(Tier::Inbound, &["Submit", "Accounts"][..]), (Tier::Outbound, &["Work", "Tls"]), (Tier::Queue, &["Peer"])]
    {
        for (service, called) in call_all(&url, &installation.of(tier)).await {
            match called {
                Ok(()) => assert!(allowed.contains(&service), "{tier} was let into {service}"),
                Err(ApiError::Forbidden(reason)) => {
                    assert!(!allowed.contains(&service), "{tier} was not let into {service}: {reason}");
                    let shown = format!("and the certificate shown is for the role {tier} (spiffe://mailtier/{tier})");
                    assert!(reason.starts_with("the role ") && reason.ends_with(&shown), "{reason}");
                }
                Err(other) => panic!("{tier} {service}: {other}"),
            }
        }
    }
    let all = installation.cluster(&["inbound", "queue", "outbound"]);
    let all = Credentials::configured(&all, Tier::Inbound).unwrap();
    assert!(call_all(&url, &all).await.iter().all(|(_, called)| called.is_ok()), "one certificate may have all roles");
}

#[tokio::test]
async fn operators_show_a_token_over_tls_and_are_nothing_else() {
    let installation = Installation::new();
    let running = serve_with(&installation.of(Tier::Queue)).await;
    let url = running.url.replace("http://", "https://");
    let tls = ClusterTls::trusting(&installation.path("ca.pem")).unwrap();
    let operator = Credentials::of_operator(secret("operator"), Some(Arc::clone(&tls)));
    let admin = AdminClient::connect(&url, &operator).await.unwrap();
    admin.list(ListRequest { limit: 1, ..ListRequest::default() }).await.unwrap();
    for (service, called) in call_all(&url, &operator).await {
        let Err(ApiError::Forbidden(reason)) = called else { panic!("{service}: {called:?}") };
        assert!(reason.starts_with("a certificate with the role ") && reason.ends_with("none was shown"), "{reason}");
    }
    // A certificate is no token.
    let inbound = AdminClient::connect(&url, &installation.of(Tier::Inbound)).await.unwrap();
    let listed = inbound.list(ListRequest { limit: 1, ..ListRequest::default() }).await;
    assert!(matches!(listed, Err(ApiError::Unauthenticated(_))), "{listed:?}");
}

#[tokio::test]
async fn without_tls_nothing_is_taken_but_health() {
    let installation = Installation::new();
    let running = serve_with(&installation.of(Tier::Queue)).await;
    for (service, called) in call_all(&running.url, &Credentials::default()).await {
        let Err(ApiError::Forbidden(reason)) = called else { panic!("{service}: {called:?}") };
        assert_eq!(reason, "the queue takes calls over TLS only: use https://");
    }
    let admin = AdminClient::connect(&running.url, Some(&secret("operator"))).await.unwrap();
    let listed = admin.list(ListRequest { limit: 1, ..ListRequest::default() }).await;
    assert!(matches!(listed, Err(ApiError::Forbidden(_))), "also with a token that is right: {listed:?}");
    // As load balancers and Kubernetes ask.
    let channel = tonic::transport::Endpoint::from_shared(running.url.clone()).unwrap().connect().await.unwrap();
    let request = tonic_health::pb::HealthCheckRequest::default();
    tonic_health::pb::health_client::HealthClient::new(channel).check(request).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_cannot_be_says_why() {
    let (ours, theirs) = (Installation::new(), Installation::new());
    let (secure, clear) = (serve_with(&ours.of(Tier::Queue)).await, serve().await);
    let trouble = async |url: &str, shown: &Credentials| {
        in_time(SubmitClient::connect(&url.replace("http://", "https://"), shown)).await.unwrap_err().to_string()
    };
    let strange = trouble(&secure.url, &theirs.of(Tier::Inbound)).await;
    assert!(strange.contains("it was issued by nobody of `cluster.tls_ca`"), "{strange}");
    let no_tls = trouble(&clear.url, &ours.of(Tier::Inbound)).await;
    assert!(
        no_tls.contains("does not speak TLS: it has no `cluster.tls_certificate`, or http:// is right"),
        "{no_tls}"
    );
    let impostor = serve_with(&Credentials::configured(&ours.cluster(&["inbound"]), Tier::Inbound).unwrap()).await;
    let impostor = trouble(&impostor.url, &ours.of(Tier::Inbound)).await;
    assert!(impostor.contains("is for the role inbound"), "{impostor}");
    let nobody = trouble("http://127.0.0.1:1", &ours.of(Tier::Inbound)).await;
    assert!(nobody.contains("cannot connect to 127.0.0.1:1"), "{nobody}");
    let none = SubmitClient::connect("https://127.0.0.1:1", None).await;
    assert!(matches!(none, Err(ApiError::Endpoint { .. })), "{none:?}");
}

/// The port takes both while an installation is moved: without TLS the token is asked for, over TLS the role.
#[tokio::test]
async fn a_running_installation_is_moved_step_by_step() {
    let installation = Installation::new();
    let moving = |tier: Tier| {
        let cluster = ClusterConfig {
            secret: Some(secret("service")),
            tls_required: false,
            ..installation.cluster(&[tier.word()])
        };
        Credentials::configured(&cluster, tier).unwrap()
    };
    let old: Credentials = Some(&secret("service")).into();
    let clear = serve_with(&old).await;
    let both = serve_with(&moving(Tier::Queue)).await;
    let closed = serve_with(&installation.of(Tier::Queue)).await;
    let https = |running: &Running| running.url.replace("http://", "https://");
    // Programs that are not moved yet.
    assert!(call_all(&both.url, &old).await.iter().all(|(_, called)| called.is_ok()));
    let stranger = call_all(&both.url, &Credentials::default()).await;
    assert!(stranger.iter().all(|(_, called)| matches!(called, Err(ApiError::Unauthenticated(_)))), "{stranger:?}");
    // Those that are; and a replica that is being moved reaches all others, whichever step they are at.
    for running in [&clear, &both, &closed] {
        let peer = PeerClient::connect(&https(running), &moving(Tier::Queue)).await.unwrap();
        peer.hint(Vec::new()).await.unwrap();
    }
    let wrong = SubmitClient::connect(&https(&both), &moving(Tier::Outbound)).await.unwrap();
    let wrong = wrong.lease_node(ReplicaId::random()).await;
    assert!(matches!(wrong, Err(ApiError::Forbidden(_))), "the token makes up for no role: {wrong:?}");
}

/// A certificate is renewed under a stream: a connection is due to be made anew, and the stream goes on meanwhile.
#[tokio::test]
async fn a_stream_goes_on_while_its_connection_waits_to_be_made_anew() {
    let installation = Installation::new();
    let running = serve_with(&installation.of(Tier::Queue)).await;
    let shown = installation.of(Tier::Inbound);
    let client = SubmitClient::connect(&running.url.replace("http://", "https://"), &shown).await.unwrap();
    let (frames, outgoing) = mpsc::channel(1);
    let mut verdicts = client.session(outgoing).await.unwrap();
    assert!(!client.renewal().is_due());
    installation.of(Tier::Inbound);
    shown.tls().unwrap().look().unwrap();
    assert!(client.renewal().is_due());
    let submissions = vec![submission(Bytes::from_static(b"x"))];
    frames.send(SubmitFrame { submissions, ..SubmitFrame::default() }).await.unwrap();
    assert_eq!(in_time(verdicts.next()).await.unwrap().unwrap().verdicts.len(), 1);
}
