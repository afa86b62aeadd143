//! HTTPS to hosts that strangers name. Such a stranger must not choose which of our own machines we talk to: hosts are found
//! as mail exchangers are, private addresses are refused, and redirects are not followed. Not responsible for what is said.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mailtier_dns::Resolver;
use mailtier_route::address::may_be_mailed_to;
use mailtier_types::Domain;
use mailtier_types::text::Chain;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How strangers' hosts are reached.
#[derive(Clone)]
pub(crate) struct Https {
    /// Finds hosts.
    pub(crate) resolver: Resolver,
    /// Also at private addresses.
    pub(crate) allow_private: bool,
}

impl Https {
    /// A client whose servers have to show a certificate by the authorities of the file, else by those of the system.
    ///
    /// # Errors
    /// What is wrong with the authorities.
    pub(crate) fn client(&self, timeout: Duration, roots: Option<&Path>) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("mailtier/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(self.clone()));
        if let Some(path) = roots {
            let pem = std::fs::read(path).map_err(|error| error.to_string())?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
            builder = builder.tls_certs_only(roots);
        }
        builder.build().map_err(|error| Chain(&error).to_string())
    }

    /// Whether this may be asked for. A host that is written as an address is not looked up, so it is judged here.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn judge(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().ok_or("the URL names no host")?;
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) if !may_be_mailed_to(address, self.allow_private) => {
                Err(format!("{host} is a private or reserved address"))
            }
            _ => Ok(()),
        }
    }
}

impl Resolve for Https {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { resolver, allow_private } = self.clone();
        Box::pin(async move {
            let host = Domain::parse(name.as_str()).map_err(|_| "this is no host name")?;
            let mut addresses = resolver.host(&host, None).await?.addresses;
            addresses.retain(|address| may_be_mailed_to(*address, allow_private));
            if addresses.is_empty() {
                return Err(format!("{host} has only private or reserved addresses").into());
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record, RecordType};

    use super::*;

    /// A name server that gives this address for every name.
    fn name_server(address: &'static str) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let question = Message::from_vec(&buffer[..length]).unwrap();
                let query = question.queries.first().unwrap().clone();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_query(query.clone());
                if query.query_type() == RecordType::A {
                    let data = RData::A(A(address.parse().unwrap()));
                    answer.add_answers([Record::from_rdata(query.name().clone(), 300, data)]);
                }
                socket.send_to(&answer.to_vec().unwrap(), client).unwrap();
            }
        });
        own
    }

    #[tokio::test]
    async fn hosts_that_strangers_name_are_nowhere_in_our_own_networks() {
        for (address, allow_private, found) in [
            ("127.0.0.1", false, false),
            ("169.254.169.254", false, false),
            ("10.1.2.3", false, false),
            ("127.0.0.1", true, true),
            ("198.51.100.7", false, true),
        ] {
            let resolver = Resolver::new(&[name_server(address)], Duration::from_secs(2)).unwrap();
            let https = Https { resolver, allow_private };
            let answer = https.resolve("mta-sts.d.example".parse().unwrap()).await;
            assert_eq!(answer.is_ok(), found, "{address}");
            for url in [format!("https://{address}/"), format!("https://[::ffff:{address}]:8443/r")] {
                assert_eq!(https.judge(&url.parse().unwrap()).is_ok(), found, "{url}");
            }
        }
    }
}
