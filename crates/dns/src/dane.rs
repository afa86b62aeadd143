//! Which TLSA records speak of a host: where they are looked for, and which of them mail can use (RFC 7672 §2.2.2,
//! §2.2.3). Not responsible for certificates.

use hickory_resolver::proto::rr::rdata::TLSA;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mailtier_types::{Domain, TlsaRecord};

use crate::answer::Tlsa;
use crate::ask::Asker;
use crate::error::DnsError;

/// Records of one host that are used; the rest is passed over.
const MAX_TLSA_RECORDS: usize = 64;

/// The records for a port of `host`, whose aliases end at `end`. `secure` says whether DNSSEC vouches for its addresses.
pub(crate) async fn tlsa_of(asker: &Asker, host: &Name, end: &Name, secure: bool, port: u16) -> Tlsa {
    match records(asker, host, end, secure, port).await {
        Ok(tlsa) => tlsa,
        Err(error) => Tlsa::Unknown(error),
    }
}

async fn records(asker: &Asker, host: &Name, end: &Name, secure: bool, port: u16) -> Result<Tlsa, DnsError> {
    // Only where the addresses are secure is anything asked: many name servers of unsigned zones stumble over the
    // question, and their mail is not to suffer for it (RFC 7672 §2.1.3).
    if secure && let Some(found) = records_at(asker, end, port).await? {
        return Ok(found);
    }
    let is_alias = end != host;
    let own_name_counts = is_alias && (secure || asker.is_secure_alias(host).await?);
    match own_name_counts {
        true => Ok(records_at(asker, host, port).await?.unwrap_or(Tlsa::None)),
        false => Ok(Tlsa::None),
    }
}

/// The records below one name; nothing where there are none or where DNSSEC does not vouch for them.
async fn records_at(asker: &Asker, base: &Name, port: u16) -> Result<Option<Tlsa>, DnsError> {
    let place = Name::from_ascii(format!("_{port}._tcp")).and_then(|prefix| prefix.append_domain(base));
    // A name too long to have records has none.
    let Ok(place) = place else { return Ok(None) };
    let answer = match asker.ask(&place, RecordType::TLSA).await {
        Ok(answer) => answer,
        Err(DnsError::NoData { .. } | DnsError::NoSuchDomain { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = base.to_ascii();
    let Some(base) = Domain::parse(text.strip_suffix('.').unwrap_or(&text)).ok().filter(|_| answer.secure) else {
        return Ok(None);
    };
    let records = answer.records.iter().filter_map(|data| match data {
        RData::TLSA(record) => usable(record),
        _ => None,
    });
    let mut usable: Vec<_> = records.take(MAX_TLSA_RECORDS).collect();
    TlsaRecord::keep_strongest(&mut usable);
    Ok(Some(Tlsa::Records { base, usable: usable.into() }))
}

fn usable(record: &TLSA) -> Option<TlsaRecord> {
    let numbers = (record.cert_usage.into(), record.selector.into(), record.matching.into());
    TlsaRecord::usable(numbers.0, numbers.1, numbers.2, &record.cert_data)
}
