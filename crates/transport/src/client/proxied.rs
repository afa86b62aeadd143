//! Connections through a proxy: SOCKS5 (RFC 1928, RFC 1929), and the header of the PROXY protocol said to a proxy that
//! connects from the address which it is told. Not responsible for which connections go through one.
//!
//! What a proxy does wrong, or does not do in time, is our trouble: it says nothing of the host. What it says of the host
//! (RFC 1928 §6) is the host's. A proxy of the PROXY protocol has no words: where it cannot reach a host it closes the
//! connection, which is then told of as the host's.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mailtier_sasl::Credentials;
use mailtier_types::{Stage, TroubleKind};
use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ConnectFailure;

/// RFC 1928 §3.
const VERSION: u8 = 5;
/// RFC 1929 §2: the version of the dialogue about user and password.
const LOGIN_VERSION: u8 = 1;
/// RFC 1928 §3: nothing is asked of us.
const NO_LOGIN: u8 = 0;
/// A user and a password.
const PASSWORD: u8 = 2;
/// RFC 1928 §4.
const CONNECT: u8 = 1;
/// RFC 1928 §5: kinds of addresses.
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;
/// RFC 1929 §2: a user and a password have so many octets at the most, and one at least.
const MAX_LOGIN_OCTETS: usize = 255;

/// A proxy that connections go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressProxy {
    /// Where it is.
    pub server: SocketAddr,
    /// What is spoken with it.
    pub protocol: ProxyProtocol,
}

/// What is spoken with a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// RFC 1928. The proxy has the address that remote hosts see.
    Socks5 {
        /// RFC 1929, where the proxy asks for it.
        login: Option<Credentials>,
    },
    /// The PROXY protocol, version 1: our address is said in a line of text.
    HeaderV1,
    /// Version 2: in octets.
    HeaderV2,
}

/// As logs and outcomes name it.
impl fmt::Display for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            ProxyProtocol::Socks5 { .. } => "SOCKS5",
            ProxyProtocol::HeaderV1 | ProxyProtocol::HeaderV2 => "PROXY protocol",
        };
        write!(f, "the {name} proxy {}", self.server)
    }
}

/// Whose fault it is, and what.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Ours: the proxy cannot be used.
    Proxy(String),
    /// The proxy cannot reach the host.
    Host(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Proxy(error.to_string())
    }
}

/// How far a dialogue has come; it decides whose fault it is when time runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    ForProxy,
    ForHost,
}

impl EgressProxy {
    /// A connection to a host through the proxy, from `source` where that is the proxy's to choose by our word. All of it
    /// takes no longer than `patience`.
    pub(super) async fn connect(
        &self,
        target: SocketAddr,
        source: Option<IpAddr>,
        patience: Duration,
    ) -> Result<TcpStream, ConnectFailure> {
        let mut waiting = Waiting::ForProxy;
        let connected = tokio::time::timeout(patience, self.dialogue(target, source, &mut waiting)).await;
        let fault = match connected {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(fault)) => fault,
            Err(_) if waiting == Waiting::ForHost => Fault::Host("timed out"),
            Err(_) => Fault::Proxy("timed out".to_owned()),
        };
        Err(match fault {
            Fault::Proxy(problem) => {
                ConnectFailure::trouble(Stage::Connect, TroubleKind::Local, format!("{self} cannot be used: {problem}"))
            }
            Fault::Host(problem) => {
                let text = format!("connect to {target} through {self}: {problem}");
                ConnectFailure::trouble(Stage::Connect, TroubleKind::Connect, text)
            }
        })
    }

    async fn dialogue(
        &self,
        target: SocketAddr,
        source: Option<IpAddr>,
        waiting: &mut Waiting,
    ) -> Result<TcpStream, Fault> {
        let mut stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        match &self.protocol {
            ProxyProtocol::Socks5 { login } => {
                agree(&mut stream, login.as_ref()).await?;
                stream.write_all(&request(target)).await?;
                *waiting = Waiting::ForHost;
                hear_reply(&mut stream).await?;
            }
            ProxyProtocol::HeaderV1 | ProxyProtocol::HeaderV2 => {
                stream.write_all(&self.header(target, source)?).await?;
            }
        }
        Ok(stream)
    }

    /// The port is the proxy's to choose.
    fn header(&self, target: SocketAddr, source: Option<IpAddr>) -> Result<Vec<u8>, Fault> {
        let source = source.ok_or_else(|| Fault::Proxy("it was given no source address to connect from".to_owned()))?;
        let header = ProxyHeader::with_address(ProxiedAddress::stream(SocketAddr::new(source, 0), target));
        let mut octets = Vec::new();
        let encoded = match self.protocol {
            ProxyProtocol::HeaderV1 => header.encode_v1(&mut octets),
            _ => header.encode_v2(&mut octets),
        };
        encoded.map(|()| octets).map_err(|error| Fault::Proxy(error.to_string()))
    }
}

/// RFC 1928 §3: which way of showing who we are, and that.
async fn agree(stream: &mut TcpStream, login: Option<&Credentials>) -> Result<(), Fault> {
    let offer: &[u8] = if login.is_some() { &[VERSION, 2, NO_LOGIN, PASSWORD] } else { &[VERSION, 1, NO_LOGIN] };
    stream.write_all(offer).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, login) {
        ([VERSION, NO_LOGIN], _) => Ok(()),
        ([VERSION, PASSWORD], Some(login)) => log_in(stream, login).await,
        ([VERSION, _], None) => Err(Fault::Proxy("it wants a login, and none is configured".to_owned())),
        ([VERSION, _], Some(_)) => Err(Fault::Proxy("it takes no login with user and password".to_owned())),
        _ => Err(Fault::Proxy("it does not speak SOCKS5".to_owned())),
    }
}

/// RFC 1929 §2.
async fn log_in(stream: &mut TcpStream, login: &Credentials) -> Result<(), Fault> {
    let mut octets = vec![LOGIN_VERSION];
    for text in [&login.name, &login.password.0] {
        let length = u8::try_from(text.len())
            .map_err(|_| Fault::Proxy(format!("its user or password is longer than {MAX_LOGIN_OCTETS} octets")))?;
        octets.push(length);
        octets.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&octets).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match answer {
        [_, 0] => Ok(()),
        _ => Err(Fault::Proxy("it refuses our user or password".to_owned())),
    }
}

/// RFC 1928 §4. An address: which host it is was decided, and looked at, before.
fn request(target: SocketAddr) -> Vec<u8> {
    let mut octets = vec![VERSION, CONNECT, 0];
    match target.ip() {
        IpAddr::V4(address) => {
            octets.push(IPV4);
            octets.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            octets.push(IPV6);
            octets.extend_from_slice(&address.octets());
        }
    }
    octets.extend_from_slice(&target.port().to_be_bytes());
    octets
}

/// RFC 1928 §6. What follows it is the host's, so no octet more is read.
async fn hear_reply(stream: &mut TcpStream) -> Result<(), Fault> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, code, _, kind] = head;
    if version != VERSION {
        return Err(Fault::Proxy("its reply is none of SOCKS5".to_owned()));
    }
    meaning(code)?;
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        DOMAIN => usize::from(stream.read_u8().await?),
        _ => return Err(Fault::Proxy("its reply has an address of no known kind".to_owned())),
    };
    let mut rest = vec![0; address + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

/// Which replies are about the host, and which about the proxy.
fn meaning(code: u8) -> Result<(), Fault> {
    match code {
        0 => Ok(()),
        3 => Err(Fault::Host("network unreachable")),
        4 => Err(Fault::Host("host unreachable")),
        5 => Err(Fault::Host("connection refused")),
        6 => Err(Fault::Host("its time to live ran out on the way")),
        1 => Err(Fault::Proxy("it says: general failure".to_owned())),
        2 => Err(Fault::Proxy("its rules do not allow the connection".to_owned())),
        7 => Err(Fault::Proxy("it does not know the command CONNECT".to_owned())),
        8 => Err(Fault::Proxy("it does not know this kind of address".to_owned())),
        other => Err(Fault::Proxy(format!("it replied with {other}, which has no meaning"))),
    }
}
