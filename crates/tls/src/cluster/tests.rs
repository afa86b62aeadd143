//! Handshakes over loopback with certificates made for the occasion.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mailtier_config::ClusterConfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{ClusterStream, ClusterTls, HandshakeError, Look, Renewal, Tier};

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::of_name(&format!("authority {}", rand::random::<u64>()))
    }

    fn of_name(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }
}

/// The files of one program.
struct Program {
    folder: TempDir,
}

impl Program {
    fn new(authority: &Authority, uri: &str) -> Self {
        let this = Self { folder: TempDir::new().unwrap() };
        this.trust(&[authority]);
        this.issue(authority, uri, |_| {});
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trust(&self, authorities: &[&Authority]) {
        let text: String = authorities.iter().map(|authority| authority.0.pem()).collect();
        fs::write(self.path("ca.pem"), text).unwrap();
    }

    fn issue(&self, authority: &Authority, uri: &str, more: impl Fn(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        more(&mut params);
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        fs::write(self.path("chain.pem"), params.signed_by(&key, &authority.0).unwrap().pem()).unwrap();
    }

    fn config(&self) -> ClusterConfig {
        ClusterConfig {
            tls_certificate: Some(self.path("chain.pem")),
            tls_key: Some(self.path("key.pem")),
            tls_ca: Some(self.path("ca.pem")),
            ..ClusterConfig::default()
        }
    }

    fn load(&self, tier: Tier) -> Arc<ClusterTls> {
        ClusterTls::configured(&self.config(), tier).unwrap().unwrap()
    }

    fn refusal(&self, tier: Tier) -> String {
        ClusterTls::configured(&self.config(), tier).unwrap_err().to_string()
    }
}

fn queue(authority: &Authority) -> Program {
    Program::new(authority, "spiffe://mailtier/queue")
}

fn inbound(authority: &Authority) -> Program {
    Program::new(authority, "spiffe://mailtier/inbound")
}

type Shaken = (Result<ClusterStream, HandshakeError>, Result<ClusterStream, HandshakeError>);

/// The client's side and the server's, which speaks first.
async fn shake_hands(client: &Arc<ClusterTls>, server: &Arc<ClusterTls>, renewal: &Renewal) -> Shaken {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(tcp).await?;
        stream.write_all(b"settings").await.unwrap();
        Ok(stream)
    };
    let connecting = async { client.connect(TcpStream::connect(address).await.unwrap(), renewal).await };
    tokio::time::timeout(PATIENCE, async { tokio::join!(connecting, accepting) }).await.unwrap()
}

async fn refused(client: &Arc<ClusterTls>, server: &Arc<ClusterTls>) -> (String, String) {
    let (client, server) = shake_hands(client, server, &Renewal::default()).await;
    (client.unwrap_err().to_string(), server.map(|_| String::new()).unwrap_or_else(|error| error.to_string()))
}

#[tokio::test]
async fn both_sides_know_each_other_by_role_and_not_by_name() {
    let authority = Authority::new();
    let (client, server) = (inbound(&authority).load(Tier::Inbound), queue(&authority).load(Tier::Queue));
    let (client, server) = shake_hands(&client, &server, &Renewal::default()).await;
    let (mut client, server) = (client.unwrap(), server.unwrap());
    assert!(client.peer().unwrap().is(Tier::Queue) && !client.peer().unwrap().is(Tier::Inbound));
    assert!(server.peer().unwrap().is(Tier::Inbound));
    let mut octets = [0; 8];
    client.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"settings", "what was waited for is still there");
}

#[tokio::test]
async fn operators_need_no_certificate() {
    let authority = Authority::new();
    let queue = queue(&authority);
    let operator = ClusterTls::trusting(&queue.path("ca.pem")).unwrap();
    let (client, server) = shake_hands(&operator, &queue.load(Tier::Queue), &Renewal::default()).await;
    client.unwrap();
    assert!(server.unwrap().peer().is_none());
}

#[tokio::test]
async fn strangers_are_told_why_they_are_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = queue(&ours).load(Tier::Queue);
    // One that trusts us, and that we do not.
    let stranger = inbound(&theirs);
    stranger.trust(&[&ours, &theirs]);
    let (client, server_says) = refused(&stranger.load(Tier::Inbound), &server).await;
    assert_eq!(
        client,
        "the other side does not trust our certificate: it was issued by nobody of its `cluster.tls_ca`"
    );
    assert!(server_says.ends_with("it was issued by nobody of `cluster.tls_ca`"), "{server_says}");
    // And the reverse.
    let (client, server_says) = refused(&inbound(&theirs).load(Tier::Inbound), &server).await;
    assert!(client.contains("cannot be trusted: it was issued by nobody of `cluster.tls_ca`"), "{client}");
    assert!(server_says.contains("does not trust our certificate"), "{server_says}");
}

/// As when an authority was made a second time.
#[tokio::test]
async fn a_namesake_of_the_authority_is_none_of_ours() {
    let (ours, theirs) = (Authority::of_name("authority"), Authority::of_name("authority"));
    let stranger = inbound(&theirs);
    stranger.trust(&[&ours, &theirs]);
    let (client, server) = refused(&stranger.load(Tier::Inbound), &queue(&ours).load(Tier::Queue)).await;
    assert!(
        client.ends_with("it was issued by another than its `cluster.tls_ca`, although of the same name"),
        "{client}"
    );
    assert!(server.ends_with("it was issued by another than `cluster.tls_ca`, although of the same name"), "{server}");
}

#[tokio::test]
async fn only_a_queue_is_spoken_to() {
    let authority = Authority::new();
    let impostor = inbound(&authority).load(Tier::Inbound);
    let (client, _) = refused(&inbound(&authority).load(Tier::Inbound), &impostor).await;
    assert_eq!(
        client,
        "the certificate of the other side is for the role inbound (spiffe://mailtier/inbound), and the role queue is needed"
    );
}

#[tokio::test]
async fn what_is_no_tls_is_named() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = inbound(&authority).load(Tier::Inbound);
    // HTTP/2 as a queue without TLS speaks it: its settings at once; or the end.
    for said in [&b"\0\0\0\x04\0\0\0\0\0"[..], b""] {
        let answering = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.read_exact(&mut [0; 5]).await.unwrap();
            tcp.write_all(said).await.unwrap();
        };
        let tcp = TcpStream::connect(address).await.unwrap();
        let renewal = Renewal::default();
        let (connected, ()) = tokio::join!(client.connect(tcp, &renewal), answering);
        assert!(matches!(connected, Err(HandshakeError::NotTls)), "{connected:?}");
    }
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let authority = Authority::new();
    let (program, listener) = (queue(&authority), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (server, address) = (program.load(Tier::Queue), listener.local_addr().unwrap());
    let shake = async |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let config = rustls::ClientConfig::builder_with_provider(crate::provider::provider())
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(crate::ClientTls::any_certificate())
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connecting = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            connector.connect("queue".try_into().unwrap(), tcp).await.is_ok()
        };
        let accepting = async { server.accept(listener.accept().await.unwrap().0).await.is_ok() };
        tokio::join!(connecting, accepting)
    };
    assert_eq!(shake(&[&rustls::version::TLS13]).await, (true, true));
    assert_eq!(shake(&[&rustls::version::TLS12]).await, (false, false));
}

#[test]
fn a_program_says_at_its_start_what_is_wrong_with_its_certificate() {
    let authority = Authority::new();
    let program = Program::new(&authority, "spiffe://mailtier/outbound");
    let refusal = program.refusal(Tier::Inbound);
    assert!(refusal.starts_with("`cluster.tls_certificate` cannot be used: "), "{refusal}");
    assert!(
        refusal.ends_with(
            "it is for the role outbound (spiffe://mailtier/outbound), and mailtier-inbound needs one with a URI such as \
             spiffe://mailtier/inbound"
        ),
        "{refusal}"
    );
    program.issue(&authority, "spiffe://mailtier/queue", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(program.refusal(Tier::Queue).contains("and the queue serverAuth beside"));
    program.issue(&authority, "spiffe://mailtier/queue", |params| {
        params.not_after = OffsetDateTime::now_utc() - time::Duration::seconds(1);
    });
    assert!(program.refusal(Tier::Queue).ends_with("it has expired"));
    program.issue(&authority, "spiffe://mailtier/queue", |params| {
        params.not_before = OffsetDateTime::now_utc() + time::Duration::hours(1);
    });
    assert!(program.refusal(Tier::Queue).ends_with("it is not valid yet: do the clocks agree?"));
    program.issue(&Authority::new(), "spiffe://mailtier/queue", |_| {});
    assert!(program.refusal(Tier::Queue).ends_with("it was issued by nobody of `cluster.tls_ca`"));
    fs::write(program.path("ca.pem"), "").unwrap();
    assert!(program.refusal(Tier::Queue).starts_with("`cluster.tls_ca` cannot be used: "));
    fs::remove_file(program.path("key.pem")).unwrap();
    let missing = program.refusal(Tier::Queue);
    assert!(missing.starts_with("`cluster.tls_key` cannot be used: ") && missing.contains("No such file"), "{missing}");
}

#[test]
fn a_certificate_may_have_several_roles() {
    let authority = Authority::new();
    let program = queue(&authority);
    program.issue(&authority, "spiffe://mailtier/queue", |params| {
        for tier in ["inbound", "outbound"] {
            params.subject_alt_names.push(SanType::URI(format!("spiffe://mailtier/{tier}").try_into().unwrap()));
        }
    });
    let identities = Tier::ALL.map(|tier| program.load(tier).identity().unwrap());
    assert!(identities.iter().all(|identity| identity.to_string().starts_with("the roles inbound, queue, outbound (")));
}

#[tokio::test]
async fn files_are_read_again_when_they_fit_together() {
    let (authority, next) = (Authority::new(), Authority::new());
    let program = queue(&authority);
    let tls = program.load(Tier::Queue);
    assert_eq!(tls.look().unwrap(), Look::Same);
    let before = fs::read(program.path("key.pem")).unwrap();
    program.issue(&authority, "spiffe://mailtier/queue", |_| {});
    let key = fs::read(program.path("key.pem")).unwrap();
    // Half written: the certificate is there, the key not yet.
    fs::write(program.path("key.pem"), before).unwrap();
    assert!(tls.look().unwrap_err().to_string().contains("cannot be used"));
    let client = inbound(&authority).load(Tier::Inbound);
    shake_hands(&client, &tls, &Renewal::default()).await.0.unwrap();
    fs::write(program.path("key.pem"), key).unwrap();
    assert_eq!(tls.look().unwrap(), Look::Renewed);
    assert_eq!(tls.look().unwrap(), Look::Same);
    shake_hands(&client, &tls, &Renewal::default()).await.0.unwrap();
    // Another authority beside the old: who has a certificate of either is let in.
    program.trust(&[&authority, &next]);
    assert_eq!(tls.look().unwrap(), Look::Renewed);
    let newcomer = inbound(&next);
    newcomer.trust(&[&authority, &next]);
    for client in [client, newcomer.load(Tier::Inbound)] {
        shake_hands(&client, &tls, &Renewal::default()).await.0.unwrap();
    }
}

/// What a side reads when the connection ends under it.
async fn end_of(mut stream: ClusterStream) -> String {
    let reading = async {
        let mut octets = [0; 64];
        loop {
            match stream.read(&mut octets).await {
                Ok(0) => return "closed".to_owned(),
                Ok(_) => {}
                Err(error) => return error.to_string(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

#[tokio::test]
async fn a_connection_ends_with_the_authority_behind_it() {
    let (authority, next) = (Authority::new(), Authority::new());
    let program = queue(&authority);
    let tls = program.load(Tier::Queue);
    let (client, server) = shake_hands(&inbound(&authority).load(Tier::Inbound), &tls, &Renewal::default()).await;
    let (_client, server) = (client.unwrap(), server.unwrap());
    let ended = tokio::spawn(end_of(server));
    program.issue(&next, "spiffe://mailtier/queue", |_| {});
    program.trust(&[&next]);
    assert_eq!(tls.look().unwrap(), Look::Renewed);
    let ended = ended.await.unwrap();
    assert!(ended.starts_with("the certificate of the other side is no longer good: "), "{ended}");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_it_was_made_by() {
    let authority = Authority::new();
    let program = inbound(&authority);
    program.issue(&authority, "spiffe://mailtier/inbound", |params| {
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(3);
    });
    let (client, server) = (program.load(Tier::Inbound), queue(&authority).load(Tier::Queue));
    let (client, server) = shake_hands(&client, &server, &Renewal::default()).await;
    let _client = client.unwrap();
    let ended = end_of(server.unwrap()).await;
    assert!(ended.contains("no longer good") && ended.contains("xpired"), "{ended}");
}

#[tokio::test]
async fn a_connection_is_made_anew_soon_after_a_change() {
    let authority = Authority::new();
    let program = inbound(&authority);
    let short = |params: &mut CertificateParams| {
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(60);
    };
    program.issue(&authority, "spiffe://mailtier/inbound", short);
    let (client, server) = (program.load(Tier::Inbound), queue(&authority).load(Tier::Queue));
    let renewal = Renewal::with(Arc::clone(&client));
    let _streams = shake_hands(&client, &server, &renewal).await;
    assert!(!renewal.is_due());
    let due = tokio::spawn({
        let renewal = renewal.clone();
        async move { renewal.due().await }
    });
    program.issue(&authority, "spiffe://mailtier/inbound", short);
    client.look().unwrap();
    assert!(renewal.is_due(), "what is needed anyway is made anew at once");
    // Within a tenth of what is left.
    tokio::time::timeout(Duration::from_secs(10), due).await.unwrap().unwrap();
    let _streams = shake_hands(&client, &server, &renewal).await;
    assert!(!renewal.is_due());
}

#[tokio::test]
async fn a_connection_is_made_anew_before_the_other_sides_certificate_ends() {
    let authority = Authority::new();
    let program = queue(&authority);
    program.issue(&authority, "spiffe://mailtier/queue", |params| {
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(22);
    });
    let (client, server) = (inbound(&authority).load(Tier::Inbound), program.load(Tier::Queue));
    let renewal = Renewal::with(Arc::clone(&client));
    let (stream, _server) = shake_hands(&client, &server, &renewal).await;
    let ended = tokio::spawn(end_of(stream.unwrap()));
    tokio::time::timeout(PATIENCE, renewal.due()).await.unwrap();
    assert!(!ended.is_finished(), "the old one is still good meanwhile");
}
