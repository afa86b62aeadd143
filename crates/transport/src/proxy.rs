//! The header of the PROXY protocol, versions 1 and 2, with which a load balancer says who is behind it. Not responsible
//! for whether its word is taken.
//!
//! Nothing beyond the header is read off the connection: what follows may be a handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The first octets of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first octets of version 1.
const WORD: &[u8] = b"PROXY ";
/// The longest header of version 1, CRLF included.
const MAX_TEXT_OCTETS: usize = 107;
/// The fixed part of a header of version 2.
const FIXED_OCTETS: usize = 16;
/// The command of version 2 that names a client.
const PROXIED: u8 = 1;
/// The transport protocol of version 2 that is TCP's.
const STREAM: u8 = 1;
/// The longest header taken: far more than addresses and the usual notes beside them need.
const MAX_OCTETS: usize = 4096;

/// Who a proxy says is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// A client, and where it connected to.
    Client {
        /// The client.
        source: SocketAddr,
        /// The proxy, as the client sees it.
        destination: SocketAddr,
    },
    /// Nobody: the proxy itself, to see whether we live.
    Proxy,
}

/// No header that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY protocol header")]
    Absent,
    /// A header that is not well-formed, or too long.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// Not all of it came in time.
    #[error("the PROXY protocol header did not come in time")]
    Late,
    /// The connection ended or broke.
    #[error("the connection ended within the PROXY protocol header")]
    Lost(#[from] io::Error),
}

/// Reads the header.
///
/// # Errors
/// There is none, or not in time.
pub async fn read_header(stream: &mut TcpStream, within: Duration) -> Result<Proxied, ProxyError> {
    let octets = tokio::time::timeout(within, read_octets(stream)).await.map_err(|_| ProxyError::Late)??;
    parse(&octets)
}

/// What the octets of a whole header say.
///
/// # Errors
/// They are none.
pub fn parse(octets: &[u8]) -> Result<Proxied, ProxyError> {
    let (header, length) = ProxyHeader::parse(octets, ParseConfig::default()).map_err(|_| ProxyError::Malformed)?;
    if length != octets.len() || !is_strict(octets) {
        return Err(ProxyError::Malformed);
    }
    Ok(match header.proxied_address() {
        Some(address) => Proxied::Client { source: address.source, destination: address.destination },
        None => Proxied::Proxy,
    })
}

/// What the library lets pass: ports in other forms than the specification's (version 1 §2.1), and datagrams (version 2
/// §2.2), which no mail comes in.
fn is_strict(octets: &[u8]) -> bool {
    let Some(line) = octets.strip_prefix(WORD) else {
        let (command, transport) = (octets.get(12).map(|octet| octet & 0x0f), octets.get(13).map(|octet| octet & 0x0f));
        return command != Some(PROXIED) || transport == Some(STREAM);
    };
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let mut ports = line.rsplit(|&octet| octet == b' ').take(2);
    let is_port = |port: &[u8]| {
        port.iter().all(u8::is_ascii_digit) && (!port.starts_with(b"0") || port == b"0") && !port.is_empty()
    };
    line.starts_with(b"UNKNOWN") || ports.all(is_port)
}

async fn read_octets(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut octets = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut octets).await?;
    if octets == SIGNATURE {
        octets.resize(FIXED_OCTETS, 0);
        stream.read_exact(octets.get_mut(SIGNATURE.len()..).unwrap_or_default()).await?;
        let length = octets.get(14..16).and_then(|length| length.try_into().ok()).map_or(0, u16::from_be_bytes);
        let whole = FIXED_OCTETS + usize::from(length);
        if whole > MAX_OCTETS {
            return Err(ProxyError::Malformed);
        }
        octets.resize(whole, 0);
        stream.read_exact(octets.get_mut(FIXED_OCTETS..).unwrap_or_default()).await?;
        return Ok(octets);
    }
    if !octets.starts_with(WORD) {
        return Err(ProxyError::Absent);
    }
    while !octets.ends_with(b"\r\n") {
        if octets.len() == MAX_TEXT_OCTETS {
            return Err(ProxyError::Malformed);
        }
        octets.push(stream.read_u8().await?);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Sends octets and hangs up; says what was read, and what was left.
    async fn read(sent: &[u8]) -> (Result<Proxied, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(sent).await.unwrap();
        drop(client);
        let header = read_header(&mut server, Duration::from_secs(5)).await;
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        (header, rest)
    }

    fn client(source: &str, destination: &str) -> Proxied {
        Proxied::Client { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[tokio::test]
    async fn either_version_and_not_an_octet_more() {
        let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO x\r\n";
        let (header, rest) = read(v1).await;
        assert_eq!(header.unwrap(), client("192.0.2.1:56324", "198.51.100.1:25"));
        assert_eq!(rest, b"EHLO x\r\n");
        let v2 =
            [&SIGNATURE[..], b"\x21\x11\x00\x0f\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x00\x19\x04\x00\x00EHLO x"]
                .concat();
        let (header, rest) = read(&v2).await;
        assert_eq!(header.unwrap(), client("192.0.2.1:56324", "198.51.100.1:25"));
        assert_eq!(rest, b"EHLO x");
        for local in [&b"PROXY UNKNOWN\r\n"[..], &[&SIGNATURE[..], b"\x20\x00\x00\x00"].concat()] {
            assert_eq!(read(local).await.0.unwrap(), Proxied::Proxy);
        }
    }

    #[tokio::test]
    async fn nothing_else_is_a_header() {
        assert!(matches!(read(b"EHLO client.example.com\r\n").await.0, Err(ProxyError::Absent)));
        assert!(matches!(read(b"PROXY TCP4 192").await.0, Err(ProxyError::Lost(_))));
        let long = [&SIGNATURE[..], b"\x21\x11\xff\xff"].concat();
        for bad in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 99999\r\n"[..],
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +40 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 40 025\r\n",
            &[&SIGNATURE[..], b"\x21\x12\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\xdc\x04\x00\x19"].concat(),
            &[&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(),
            &long,
            &[&SIGNATURE[..], b"\x31\x11\x00\x00"].concat(),
        ] {
            assert!(matches!(read(bad).await.0, Err(ProxyError::Malformed)), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert!(matches!(read_header(&mut server, Duration::from_millis(20)).await, Err(ProxyError::Late)));
    }

    #[tokio::test]
    async fn a_trickle_gains_no_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for drop in [
            &b"PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[..],
            &[&SIGNATURE[..], b"\x21\x11\x00\x40", &[0; 64]].concat(),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let octets = drop.to_vec();
            // Each octet comes well within the time, all of them do not.
            let dripping = tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                for octet in octets {
                    ticks.tick().await;
                    let _ = client.write_all(&[octet]).await;
                }
                std::future::pending::<()>().await;
            });
            assert!(matches!(read_header(&mut server, Duration::from_millis(300)).await, Err(ProxyError::Late)));
            dripping.abort();
        }
    }
}
