//! What is asked of the encryption to one host, from what the operator, the sender and the domain's owner ask. Pure; not
//! responsible for which hosts there are.

use std::fmt;
use std::sync::Arc;

use mailtier_types::{Domain, ServerIdentity, TlsFault, TlsaRecord, Trouble, TroubleKind};

use crate::sts::{StsMode, StsPolicy};
use crate::way::TlsPolicy;

/// Whether a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Not even where it is offered.
    Off,
    /// Where it is offered and works (RFC 7435).
    #[default]
    Opportunistic,
    /// Or no message goes.
    Required,
}

/// Who asks for what is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Authority {
    /// The operator, by configuration.
    #[default]
    Operator,
    /// The sender, by REQUIRETLS (RFC 8689).
    Sender,
    /// The host's owner, by TLSA records (RFC 7672).
    Dane,
    /// The domain's owner, by MTA-STS (RFC 8461).
    MtaSts,
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Operator => "configuration",
            Self::Sender => "REQUIRETLS",
            Self::Dane => "DANE",
            Self::MtaSts => "MTA-STS",
        })
    }
}

/// What a sender says of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SendersWish {
    /// Nothing.
    #[default]
    None,
    /// With proof or not at all: REQUIRETLS (RFC 8689 §4).
    RequireTls,
    /// Rather without what hosts and domains ask for than not at all: `TLS-Required: No` (RFC 8689 §5).
    TlsOptional,
}

/// What is asked of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsDemand {
    /// Whether it is encrypted.
    pub encryption: Encryption,
    /// Who the server has to prove to be.
    pub identity: Option<Arc<ServerIdentity>>,
    /// Without the proof no message goes; else it is only looked for.
    pub enforced: bool,
    /// Who asks for it.
    pub authority: Authority,
}

impl TlsDemand {
    /// Of this encryption, whoever the server is.
    #[must_use]
    pub const fn anyone(encryption: Encryption, authority: Authority) -> Self {
        Self { encryption, identity: None, enforced: false, authority }
    }

    /// The same, and whether the server proves to be this one is found out.
    fn looked_for(encryption: Encryption, identity: ServerIdentity, authority: Authority) -> Self {
        Self { encryption, identity: Some(Arc::new(identity)), enforced: false, authority }
    }

    fn proof(identity: ServerIdentity, authority: Authority) -> Self {
        Self { encryption: Encryption::Required, identity: Some(Arc::new(identity)), enforced: true, authority }
    }
}

/// What is known of a host's TLSA records (RFC 7672 §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tlsa {
    /// None that DNSSEC vouches for.
    #[default]
    None,
    /// There are some.
    Records {
        /// Where they stand.
        base: Domain,
        /// Those that can be used, perhaps none.
        usable: Arc<[TlsaRecord]>,
    },
    /// Whether there are any could not be learnt, with the reason.
    Unknown(String),
}

/// What holds for all hosts of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Demands {
    /// The operator's.
    pub(crate) policy: TlsPolicy,
    /// The sender's.
    pub(crate) require_tls: bool,
    /// The sender would rather do without what domains and hosts ask for.
    pub(crate) tls_optional: bool,
    /// The domain owner's.
    pub(crate) sts: Option<Arc<StsPolicy>>,
    /// Why it is not known, where there is one.
    pub(crate) sts_fault: Option<(TlsFault, String)>,
    /// The names of the hosts are certain: an operator or DNSSEC vouches for them.
    pub(crate) names_are_certain: bool,
}

impl Demands {
    /// What is asked of the connection to a host of `domain`.
    ///
    /// # Errors
    /// Why the host gets no mail.
    pub(crate) fn of_host(&self, host: &str, domain: &Domain, tlsa: &Tlsa) -> Result<TlsDemand, Trouble> {
        if self.policy == TlsPolicy::Off && !self.require_tls {
            return Ok(TlsDemand::anyone(Encryption::Off, Authority::Operator));
        }
        let pkix = || ServerIdentity::Pkix { name: host.to_owned() };
        match tlsa {
            // RFC 7672 §2.1.3: as good as a host that cannot be reached.
            Tlsa::Unknown(reason) => {
                return Err(trouble(TroubleKind::DnsTemporary, format!("TLSA records of {host}: {reason}")));
            }
            // §2.2: usable records are an obligation, whatever else holds; MTA-STS does not weaken it (RFC 8461 §2).
            Tlsa::Records { base, usable } if !usable.is_empty() => {
                let names = names(base, host, domain);
                return Ok(TlsDemand::proof(
                    ServerIdentity::Dane { records: Arc::clone(usable), names },
                    Authority::Dane,
                ));
            }
            Tlsa::Records { .. } | Tlsa::None => {}
        }
        if self.policy == TlsPolicy::Dane {
            let text = format!("{host} has no TLSA records that can be used, and DANE is required");
            return Err(trouble(TroubleKind::Tls, text));
        }
        let policy = self.sts.as_deref().map(|policy| (policy.mode, policy.names(host)));
        if policy == Some((StsMode::Enforce, false)) {
            let text = format!("the MTA-STS policy of {domain} does not name its exchanger {host}");
            return Err(trouble(TroubleKind::Tls, text));
        }
        let is_named = policy == Some((StsMode::Enforce, true));
        if self.require_tls {
            // RFC 8689 §4.2.1: the name that the certificate is for must be certain as well.
            if !self.names_are_certain && !is_named {
                let text =
                    "REQUIRETLS is asked for, and the host was found by DNS without DNSSEC or MTA-STS".to_owned();
                return Err(trouble(TroubleKind::RequireTls, text));
            }
            return Ok(TlsDemand::proof(pkix(), Authority::Sender));
        }
        if is_named {
            return Ok(TlsDemand::proof(pkix(), Authority::MtaSts));
        }
        Ok(match (self.policy, tlsa, policy) {
            (TlsPolicy::Verified, ..) => TlsDemand::proof(pkix(), Authority::Operator),
            // RFC 7672 §2.2: records of which none can be used still promise TLS.
            (_, Tlsa::Records { .. }, _) => TlsDemand::anyone(Encryption::Required, Authority::Dane),
            // RFC 8461 §5: what would have come of it is found out, and reported (RFC 8460 §4.3), whatever the operator asks for.
            (TlsPolicy::Required, _, Some((StsMode::Testing, _))) => {
                TlsDemand::looked_for(Encryption::Required, pkix(), Authority::Operator)
            }
            (TlsPolicy::Required, ..) => TlsDemand::anyone(Encryption::Required, Authority::Operator),
            (_, _, Some((StsMode::Testing, _))) => {
                TlsDemand::looked_for(Encryption::Opportunistic, pkix(), Authority::MtaSts)
            }
            _ => TlsDemand::anyone(Encryption::Opportunistic, Authority::Operator),
        })
    }
}

/// Whom a certificate under a trust anchor may be for (RFC 7672 §3.2.2).
fn names(base: &Domain, host: &str, domain: &Domain) -> Vec<String> {
    let mut names = vec![base.as_str().to_owned()];
    for name in [host, domain.as_str()] {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn trouble(kind: TroubleKind, text: String) -> Trouble {
    Trouble { kind, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sts(mode: &str, mx: &str) -> Option<Arc<StsPolicy>> {
        let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n");
        Some(Arc::new(StsPolicy::parse(&text).unwrap()))
    }

    fn tlsa(usable: bool) -> Tlsa {
        let record = TlsaRecord::usable(3, 1, 1, &[7; 32]).unwrap();
        Tlsa::Records {
            base: "mx.example".parse().unwrap(),
            usable: if usable { Arc::new([record]) } else { Arc::new([]) },
        }
    }

    /// One line: encryption, identity, authority; or the kind of trouble.
    fn line(demands: &Demands, tlsa: &Tlsa) -> String {
        match demands.of_host("mx.example", &"d.example".parse().unwrap(), tlsa) {
            Ok(demand) => {
                let identity = match demand.identity.as_deref() {
                    None => "anyone",
                    Some(ServerIdentity::Pkix { .. }) => "pkix",
                    Some(ServerIdentity::Dane { .. }) => "dane",
                };
                let looked_for = if demand.identity.is_some() && !demand.enforced { " if possible" } else { "" };
                format!("{:?} {identity}{looked_for} by {}", demand.encryption, demand.authority)
            }
            Err(trouble) => format!("{:?}", trouble.kind),
        }
    }

    #[test]
    fn the_strictest_demand_holds() {
        let named = || sts("enforce", "mx.example");
        let not_named = || sts("enforce", "other.example");
        let testing = || sts("testing", "other.example");
        use TlsPolicy::{Dane, Off, Opportunistic, Required, Verified};
        let cases: Vec<(TlsPolicy, Option<Arc<StsPolicy>>, Tlsa, &str)> = vec![
            (Opportunistic, None, Tlsa::None, "Opportunistic anyone by configuration"),
            (Opportunistic, None, tlsa(true), "Required dane by DANE"),
            (Opportunistic, None, tlsa(false), "Required anyone by DANE"),
            (Opportunistic, None, Tlsa::Unknown(String::new()), "DnsTemporary"),
            (Opportunistic, named(), Tlsa::None, "Required pkix by MTA-STS"),
            (Opportunistic, not_named(), Tlsa::None, "Tls"),
            (Opportunistic, testing(), Tlsa::None, "Opportunistic pkix if possible by MTA-STS"),
            (Opportunistic, sts("none", "x.example"), Tlsa::None, "Opportunistic anyone by configuration"),
            (Opportunistic, named(), tlsa(true), "Required dane by DANE"),
            (Opportunistic, not_named(), tlsa(true), "Required dane by DANE"),
            (Opportunistic, named(), tlsa(false), "Required pkix by MTA-STS"),
            (Opportunistic, named(), Tlsa::Unknown(String::new()), "DnsTemporary"),
            (Required, None, Tlsa::None, "Required anyone by configuration"),
            (Required, None, tlsa(true), "Required dane by DANE"),
            (Required, testing(), Tlsa::None, "Required pkix if possible by configuration"),
            (Verified, None, Tlsa::None, "Required pkix by configuration"),
            (Verified, None, tlsa(true), "Required dane by DANE"),
            (Verified, None, tlsa(false), "Required pkix by configuration"),
            (Dane, None, tlsa(true), "Required dane by DANE"),
            (Dane, None, tlsa(false), "Tls"),
            (Dane, named(), Tlsa::None, "Tls"),
            (Off, named(), tlsa(true), "Off anyone by configuration"),
        ];
        for (policy, sts, tlsa, expected) in cases {
            let demands = Demands {
                policy,
                require_tls: false,
                tls_optional: false,
                sts: sts.clone(),
                sts_fault: None,
                names_are_certain: true,
            };
            assert_eq!(line(&demands, &tlsa), expected, "{policy:?} {sts:?} {tlsa:?}");
        }
    }

    #[test]
    fn requiretls_wants_a_name_that_is_certain_and_its_proof() {
        for (certain, sts, tlsa, expected) in [
            (false, None, Tlsa::None, "RequireTls"),
            (false, sts("testing", "mx.example"), Tlsa::None, "RequireTls"),
            (false, sts("enforce", "mx.example"), Tlsa::None, "Required pkix by REQUIRETLS"),
            (true, None, Tlsa::None, "Required pkix by REQUIRETLS"),
            (true, None, tlsa(true), "Required dane by DANE"),
            (true, None, tlsa(false), "Required pkix by REQUIRETLS"),
        ] {
            for policy in [TlsPolicy::Off, TlsPolicy::Opportunistic] {
                let demands = Demands {
                    policy,
                    require_tls: true,
                    tls_optional: false,
                    sts: sts.clone(),
                    sts_fault: None,
                    names_are_certain: certain,
                };
                assert_eq!(line(&demands, &tlsa), expected, "{policy:?} {certain} {sts:?} {tlsa:?}");
            }
        }
    }
}
