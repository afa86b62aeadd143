//! `mailtier certificates`: an authority for one installation, and the certificates of its programs, for who has no
//! authority. Not responsible for bringing files to machines.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use mailtier_tls::Tier;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::cli::Failure;
use crate::output::say;

/// The authority outlives many certificates: replacing it means touching every program twice.
const AUTHORITY_DAYS: i64 = 3650;
/// Clocks of an installation may differ.
const SKEW: Duration = Duration::minutes(5);
const AUTHORITY: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca.key";
/// Whoever has it can pass for every program.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes an authority, and a certificate for each program
    Create(Options),
    /// Makes the programs' certificates anew, with the authority that is there
    Renew(Options),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the files are; the directory is made
    #[arg(long)]
    directory: PathBuf,
    /// How long the programs' certificates are good
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The trust domain in their names
    #[arg(long, default_value = "mailtier", value_parser = trust_domain)]
    trust_domain: String,
}

/// As SPIFFE-ID, section 2.1, has it.
fn trust_domain(text: &str) -> Result<String, String> {
    let is_part = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b".-_".contains(&octet);
    if !text.is_empty() && text.len() <= 255 && text.bytes().all(is_part) && text.parse::<IpAddr>().is_err() {
        Ok(text.to_owned())
    } else {
        Err("expected lower case letters, digits, dots, dashes and underscores, such as mail.example.com".to_owned())
    }
}

/// Does what was asked.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(options) => create(options)?,
        Command::Renew(options) => renew(options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn create(options: &Options) -> anyhow::Result<()> {
    let directory = &options.directory;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let programs = Tier::ALL.into_iter().flat_map(|tier| [chain_of(tier), key_of(tier)]);
    let names = [AUTHORITY.to_owned(), AUTHORITY_KEY.to_owned()].into_iter().chain(programs);
    if let Some(path) = names.map(|name| directory.join(name)).find(|path| path.exists()) {
        let refused =
            format!("{} is there already, and nothing is overwritten; `renew` keeps the authority", path.display());
        return Err(Failure::error(Failure::CANNOT_CREATE, refused));
    }
    let key = KeyPair::generate()?;
    let authority = authority(&options.trust_domain)?;
    let made = authority.self_signed(&key)?;
    // The certificate is the last to be written: with it the authority is there.
    write(&directory.join(AUTHORITY_KEY), &key.serialize_pem(), PRIVATE)?;
    write(&directory.join(AUTHORITY), &made.pem(), PUBLIC)?;
    issue(options, &Issuer::from_params(&authority, &key))?;
    say!("Each program needs its own certificate and key, and {AUTHORITY}. For mailtier-queue:\n");
    say!("    [cluster]");
    say!("    tls_certificate = \"/etc/mailtier/tls/{}\"", chain_of(Tier::Queue));
    say!("    tls_key = \"/etc/mailtier/tls/{}\"", key_of(Tier::Queue));
    say!("    tls_ca = \"/etc/mailtier/tls/{AUTHORITY}\"\n");
    say!(
        "inbound.queue and outbound.queue then begin with https://. {AUTHORITY_KEY} belongs on no server: whoever has it can"
    );
    say!(
        "pass for every program. Before the {} days are over: mailtier certificates renew --directory {}",
        options.days,
        directory.display()
    );
    say!("How a running installation is moved to TLS: docs/cluster-tls.md");
    Ok(())
}

fn renew(options: &Options) -> anyhow::Result<()> {
    let read = |name: &str| {
        let path = options.directory.join(name);
        fs::read_to_string(&path).map_err(|error| {
            let refused = format!("cannot read the authority's {} (`create` makes one): {error}", path.display());
            Failure::error(Failure::NO_INPUT, refused)
        })
    };
    let (certificate, key) = (read(AUTHORITY)?, read(AUTHORITY_KEY)?);
    let key = KeyPair::from_pem(&key).with_context(|| format!("{AUTHORITY_KEY} cannot be used"))?;
    let issuer = Issuer::from_ca_cert_pem(&certificate, &key).with_context(|| format!("{AUTHORITY} cannot be used"))?;
    issue(options, &issuer)?;
    say!("Bring each program its new certificate and key: it reads them by itself within seconds.");
    Ok(())
}

fn chain_of(tier: Tier) -> String {
    format!("{tier}.pem")
}

fn key_of(tier: Tier) -> String {
    format!("{tier}.key")
}

fn issue(options: &Options, issuer: &Issuer<'_, &KeyPair>) -> anyhow::Result<()> {
    for tier in Tier::ALL {
        let key = KeyPair::generate()?;
        let made = member(tier, options)?.signed_by(&key, issuer)?;
        let (chain, private) = (options.directory.join(chain_of(tier)), options.directory.join(key_of(tier)));
        write(&private, &key.serialize_pem(), PRIVATE)?;
        write(&chain, &made.pem(), PUBLIC)?;
        say!(
            "{} and {}: spiffe://{}/{tier}, {} days",
            chain.display(),
            private.display(),
            options.trust_domain,
            options.days
        );
    }
    Ok(())
}

fn authority(trust_domain: &str) -> anyhow::Result<CertificateParams> {
    // Two of one name are told apart by nobody.
    let name = format!("Mailtier authority of {trust_domain}, {:08x}", rand::random::<u32>());
    let mut params = named(&name, AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn member(tier: Tier, options: &Options) -> anyhow::Result<CertificateParams> {
    let mut params = named(&format!("mailtier-{tier}"), i64::from(options.days))?;
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{}/{tier}", options.trust_domain).try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str, days: i64) -> anyhow::Result<CertificateParams> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
    (params.not_before, params.not_after) = (now - SKEW, now + Duration::days(days));
    Ok(params)
}

/// Whole or not at all: who reads meanwhile reads what was there.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let draft = path.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&draft).with_context(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(failed)?;
    fs::rename(&draft, path).with_context(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use mailtier_config::ClusterConfig;
    use mailtier_tls::ClusterTls;

    use super::*;

    fn contents(directory: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
        let read =
            |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap());
        entries.map(read).collect()
    }

    /// Whether each program can use its own.
    fn check(directory: &Path) {
        for tier in Tier::ALL {
            let path = |name: String| Some(directory.join(name));
            let cluster = ClusterConfig {
                tls_certificate: path(chain_of(tier)),
                tls_key: path(key_of(tier)),
                tls_ca: path(AUTHORITY.to_owned()),
                ..ClusterConfig::default()
            };
            assert!(ClusterTls::configured(&cluster, tier).unwrap().unwrap().identity().unwrap().is(tier));
        }
    }

    #[test]
    fn certificates_are_made_once_and_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("ca");
        let options = Options { directory: directory.clone(), days: 2, trust_domain: "mailtier".to_owned() };
        assert!(renew(&options).unwrap_err().to_string().contains("`create` makes one"));
        create(&options).unwrap();
        check(&directory);
        let made = contents(&directory);
        for name in made.keys().filter(|name| name.ends_with(".key")) {
            let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, PRIVATE, "{name}");
        }
        assert!(create(&options).unwrap_err().to_string().contains("nothing is overwritten"));
        assert_eq!(contents(&directory), made);
        renew(&options).unwrap();
        check(&directory);
        let renewed = contents(&directory);
        let same: Vec<_> = made.iter().filter(|(name, text)| renewed[*name] == **text).map(|(name, _)| name).collect();
        assert_eq!(same, [AUTHORITY_KEY, AUTHORITY]);
    }

    #[test]
    fn trust_domains_are_those_of_spiffe() {
        assert_eq!(trust_domain("mail.example.com").as_deref(), Ok("mail.example.com"));
        for other in ["", "Mail", "a b", "a/b", "192.0.2.1"] {
            assert!(trust_domain(other).is_err(), "{other}");
        }
    }
}
