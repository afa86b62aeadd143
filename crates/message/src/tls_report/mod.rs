//! Reports of SMTP TLS Reporting (RFC 8460): written, sent by mail, and read. Not responsible for counting sessions, nor for
//! who gets a report.
//!
//! The types of the `mail-auth` crate are not used: they read what has no bound of its own, and lose details that they do
//! not know. What strangers send is unpacked up to [`MAX_JSON_OCTETS`] and no further.
//!
//! | module | has |
//! |---|---|
//! | `json` | the document, as it is written and as it is met |
//! | `mail` | the message that carries it |

mod json;
mod mail;

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use mailtier_types::{PolicyCounts, ReceivedTlsReport, Timestamp};

pub use mail::{TlsReportMail, file_name, report_mail};

/// The most that a report may unpack to, in octets: a large provider's report of a domain has some ten thousand.
pub const MAX_JSON_OCTETS: usize = 4 << 20;
/// The most policies of one report that are read.
const MAX_POLICIES: usize = 100;
/// The most failures of one policy that are read; further ones are counted by what was wrong alone.
const MAX_FAILURES: usize = 100;
/// The first octets of what gzip has packed (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A report of one day of one domain, or as others write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsReport {
    /// Who reports.
    pub organization: String,
    /// Whom to ask.
    pub contact: String,
    /// Its name, unique among those of the organisation.
    pub id: String,
    /// The first moment that it is about.
    pub begins_at: Timestamp,
    /// The last.
    pub ends_at: Timestamp,
    /// Whose policies, and what was counted.
    pub policies: Vec<(String, PolicyCounts)>,
}

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TlsReportError {
    /// It is packed, and cannot be unpacked.
    #[error("it cannot be unpacked")]
    Gzip(#[from] std::io::Error),
    /// It is larger than any report is.
    #[error("it unpacks to more than {MAX_JSON_OCTETS} octets")]
    TooLarge,
    /// It is no JSON, or none of this kind.
    #[error("it is no JSON of RFC 8460")]
    Json(#[from] serde_json::Error),
    /// One of its dates is none.
    #[error("its date-range is no range of dates")]
    Dates,
}

impl TlsReport {
    /// The report as JSON, packed with gzip.
    ///
    /// # Errors
    /// Never, in fact: memory takes everything.
    pub fn packed(&self) -> Result<Vec<u8>, TlsReportError> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&json::write(self)?)?;
        Ok(encoder.finish()?)
    }

    /// Reads a report, packed or not. Lists and texts that are too long are cut.
    ///
    /// # Errors
    /// [`TlsReportError`] says what is wrong with it.
    pub fn read(octets: &[u8]) -> Result<Self, TlsReportError> {
        if octets.starts_with(&GZIP) {
            return json::read(&unpacked(octets)?);
        }
        if octets.len() > MAX_JSON_OCTETS {
            return Err(TlsReportError::TooLarge);
        }
        json::read(octets)
    }

    /// What it says of each policy.
    #[must_use]
    pub fn received(&self) -> Vec<ReceivedTlsReport> {
        let of_policy = |(domain, counts): &(String, PolicyCounts)| ReceivedTlsReport {
            organization: self.organization.clone(),
            id: self.id.clone(),
            begins_at: self.begins_at,
            ends_at: self.ends_at,
            domain: domain.clone(),
            counts: counts.clone(),
        };
        self.policies.iter().map(of_policy).collect()
    }
}

/// Never takes more memory than what is allowed, however little it was packed into.
fn unpacked(octets: &[u8]) -> Result<Vec<u8>, TlsReportError> {
    let limit = u64::try_from(MAX_JSON_OCTETS).unwrap_or(u64::MAX);
    let mut unpacked = Vec::new();
    GzDecoder::new(octets).take(limit + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() > MAX_JSON_OCTETS { Err(TlsReportError::TooLarge) } else { Ok(unpacked) }
}
