//! A name server for tests, on a loopback port of its own: it answers from a zone that the test fills and changes while
//! it runs, and fails where it is told to. Records live no time, so a change is seen at once. Not responsible for DNSSEC.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// Idle connections over TCP are closed after this.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that wait to be sent on one connection.
const TCP_ANSWERS: usize = 32;
/// The most aliases that one answer follows.
const MAX_ALIASES: usize = 10;

/// How a name fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFailure {
    /// The server says that it cannot.
    ServFail,
    /// The server refuses to say.
    Refused,
    /// The server says nothing.
    Silence,
}

/// What is known, and what was asked.
#[derive(Debug, Default)]
struct Zone {
    records: HashMap<Name, Vec<RData>>,
    failures: HashMap<Name, NameFailure>,
    asked: HashMap<Name, usize>,
}

/// A running name server. It stops when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _stop: Arc<tokio_util::sync::DropGuard>,
}

impl NameServer {
    /// Starts one with an empty zone: every name is unknown.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let (tcp, udp) = sockets().await?;
        let address = tcp.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone::default()));
        let mut server = Server::new(Answers { zone: Arc::clone(&zone) });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_ANSWERS);
        let stop = server.shutdown_token().clone().drop_guard();
        tokio::spawn(async move { server.block_until_done().await });
        Ok(Self { address, zone, _stop: Arc::new(stop) })
    }

    /// Where it answers, over UDP and TCP.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds an address (A or AAAA).
    ///
    /// # Errors
    /// The name is none.
    pub fn add_address(&self, name: &str, address: IpAddr) -> anyhow::Result<()> {
        let data = match address {
            IpAddr::V4(v4) => RData::A(v4.into()),
            IpAddr::V6(v6) => RData::AAAA(v6.into()),
        };
        self.add(name, data)
    }

    /// Adds a mail exchanger; the host `.` makes a null MX (RFC 7505).
    ///
    /// # Errors
    /// A name is none.
    pub fn add_mx(&self, name: &str, preference: u16, host: &str) -> anyhow::Result<()> {
        self.add(name, RData::MX(MX::new(preference, absolute(host)?)))
    }

    /// Makes a name an alias.
    ///
    /// # Errors
    /// A name is none.
    pub fn add_alias(&self, name: &str, target: &str) -> anyhow::Result<()> {
        self.add(name, RData::CNAME(CNAME(absolute(target)?)))
    }

    /// Adds a text.
    ///
    /// # Errors
    /// The name is none.
    pub fn add_text(&self, name: &str, text: &str) -> anyhow::Result<()> {
        self.add(name, RData::TXT(TXT::new(vec![text.to_owned()])))
    }

    /// Makes every question about a name fail, until it is told otherwise.
    ///
    /// # Errors
    /// The name is none.
    pub fn fail(&self, name: &str, failure: NameFailure) -> anyhow::Result<()> {
        self.zone().failures.insert(absolute(name)?, failure);
        Ok(())
    }

    /// Forgets a name and its failures.
    ///
    /// # Errors
    /// The name is none.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        let name = absolute(name)?;
        let mut zone = self.zone();
        zone.records.remove(&name);
        zone.failures.remove(&name);
        Ok(())
    }

    /// How often a name was asked for, whatever was asked about it.
    #[must_use]
    pub fn asked(&self, name: &str) -> usize {
        absolute(name).ok().and_then(|name| self.zone().asked.get(&name).copied()).unwrap_or(0)
    }

    fn add(&self, name: &str, data: RData) -> anyhow::Result<()> {
        self.zone().records.entry(absolute(name)?).or_default().push(data);
        Ok(())
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TCP and UDP on the same free port.
async fn sockets() -> anyhow::Result<(TcpListener, UdpSocket)> {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr()?).await {
            return Ok((tcp, udp));
        }
    }
    anyhow::bail!("no port is free for both TCP and UDP")
}

/// Lower case, as questions are looked up.
fn absolute(name: &str) -> anyhow::Result<Name> {
    let mut name = Name::from_utf8(name).with_context(|| format!("no name: {name}"))?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

/// What is said to one question.
enum Answer {
    Records(Vec<Record>),
    Code(ResponseCode),
    Silence,
}

impl Zone {
    fn answer(&mut self, name: &Name, kind: RecordType) -> Answer {
        *self.asked.entry(name.clone()).or_default() += 1;
        let mut found = Vec::new();
        let mut name = name.clone();
        for _ in 0..MAX_ALIASES {
            match self.failures.get(&name) {
                Some(NameFailure::ServFail) => return Answer::Code(ResponseCode::ServFail),
                Some(NameFailure::Refused) => return Answer::Code(ResponseCode::Refused),
                Some(NameFailure::Silence) => return Answer::Silence,
                None => {}
            }
            let Some(records) = self.records.get(&name) else {
                return if found.is_empty() { Answer::Code(ResponseCode::NXDomain) } else { Answer::Records(found) };
            };
            let of_kind = records.iter().filter(|data| data.record_type() == kind);
            found.extend(of_kind.map(|data| Record::from_rdata(name.clone(), 0, data.clone())));
            let alias = records.iter().find_map(|data| match data {
                RData::CNAME(target) if kind != RecordType::CNAME => Some(target.0.clone()),
                _ => None,
            });
            let Some(target) = alias else { break };
            found.push(Record::from_rdata(name.clone(), 0, RData::CNAME(CNAME(target.clone()))));
            name = target.to_lowercase();
        }
        Answer::Records(found)
    }
}

struct Answers {
    zone: Arc<Mutex<Zone>>,
}

#[async_trait]
impl RequestHandler for Answers {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut handle: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let nothing = ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() });
        let Ok(info) = request.request_info() else { return nothing };
        let name = Name::from(info.query.name());
        let answer = {
            let mut zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
            zone.answer(&name, info.query.query_type())
        };
        let records = match answer {
            Answer::Silence => return nothing,
            Answer::Code(code) => {
                metadata.response_code = code;
                Vec::new()
            }
            Answer::Records(records) => records,
        };
        let denies =
            records.is_empty() && matches!(metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
        let authority: Vec<Record> = denies.then(|| authority(&name)).into_iter().collect();
        let response =
            MessageResponseBuilder::from_message_request(request).build(metadata, &records, &authority, &[], &[]);
        handle.send_response(response).await.unwrap_or(nothing)
    }
}

/// RFC 2308 §5: a denial carries the SOA, and how long it may be believed: here not at all.
fn authority(name: &Name) -> Record {
    let soa = SOA::new(name.clone(), name.clone(), 1, 3600, 600, 86_400, 0);
    Record::from_rdata(name.base_name(), 0, RData::SOA(soa))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// Over TCP, as a resolver asks when an answer does not fit a datagram.
    async fn ask(server: &NameServer, name: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(absolute(name).unwrap(), kind));
        let octets = question.to_vec().unwrap();
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_u16(u16::try_from(octets.len()).unwrap()).await.unwrap();
        stream.write_all(&octets).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        (answer.metadata.response_code, answer.answers.iter().map(|record| record.data.clone()).collect())
    }

    #[tokio::test]
    async fn it_says_what_it_was_told_and_follows_changes() {
        let server = NameServer::start().await.unwrap();
        let code = |answer: (ResponseCode, Vec<RData>)| (answer.0, answer.1.len());
        assert_eq!(code(ask(&server, "example.com", RecordType::MX).await), (ResponseCode::NXDomain, 0));
        server.add_mx("Example.com", 10, "mx.example.com").unwrap();
        server.add_alias("mx.example.com", "host.example.net").unwrap();
        server.add_address("host.example.net", "192.0.2.1".parse().unwrap()).unwrap();
        server.add_text("example.com", "v=spf1 -all").unwrap();
        assert_eq!(code(ask(&server, "example.COM", RecordType::MX).await), (ResponseCode::NoError, 1));
        assert_eq!(code(ask(&server, "example.com", RecordType::A).await), (ResponseCode::NoError, 0), "no data");
        let (_, chain) = ask(&server, "mx.example.com", RecordType::A).await;
        assert!(matches!(&chain[..], [RData::CNAME(_), RData::A(a)] if a.0.to_string() == "192.0.2.1"), "{chain:?}");
        server.fail("example.com", NameFailure::ServFail).unwrap();
        assert_eq!(code(ask(&server, "example.com", RecordType::MX).await), (ResponseCode::ServFail, 0));
        server.remove("example.com").unwrap();
        assert_eq!(code(ask(&server, "example.com", RecordType::TXT).await), (ResponseCode::NXDomain, 0));
        assert_eq!(server.asked("example.com"), 5);
    }

    #[tokio::test]
    async fn it_can_be_silent() {
        let server = NameServer::start().await.unwrap();
        server.fail("example.com", NameFailure::Silence).unwrap();
        let asking = ask(&server, "example.com", RecordType::A);
        assert!(tokio::time::timeout(Duration::from_millis(200), asking).await.is_err());
        assert_eq!(server.asked("example.com"), 1, "it heard the question");
    }
}
