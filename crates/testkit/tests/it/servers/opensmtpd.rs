//! OpenSMTPD, which offers neither PIPELINING, CHUNKING nor SMTPUTF8.

use super::remote::{Offers, Remote};
use super::sandbox::{Sandbox, Server};
use super::{Places, World};

const DOMAIN: &str = "opensmtpd.test";

#[test]
fn opensmtpd_has_what_was_sent() {
    let Some(world) = World::shared() else { return };
    let server = start(&world.places);
    let offers = Offers {
        one_go: false,
        smtputf8: false,
        notifications: &["mta: dns; opensmtpd.test", "action: delivered", "second@opensmtpd.test"],
    };
    let remote = Remote { world: &world, server: &server, domain: DOMAIN, offers };
    remote.has_all();
    // Debian 12's offers TLS and fails each handshake (OpenSMTPD#1171): mail still comes where TLS is not demanded.
    remote.has_text_by_starttls("by opensmtpd.test (OpenSMTPD) with ESMTP");
}

fn start(places: &Places) -> Server {
    let sandbox = Sandbox::new("opensmtpd");
    sandbox.folder("var/lib/opensmtpd/empty", 0, 0, 0o755);
    sandbox.folder("var/spool/smtpd", 0, 0, 0o711);
    sandbox.write("etc/smtpd.conf", &configuration(&sandbox, places));
    sandbox.start(&["/usr/sbin/smtpd", "-d"], places.opensmtpd)
}

fn configuration(sandbox: &Sandbox, places: &Places) -> String {
    let path = |name: &str| sandbox.path(name).display().to_string();
    format!(
        "pki ours cert \"{}\"\npki ours key \"{}\"\nsmtp max-message-size 50M\n\
         table users {{ reader = reader, second = reader, sender = reader }}\n\
         listen on {} port {} hostname {DOMAIN} tls pki ours\n\
         action keep maildir \"{}\" virtual <users>\n\
         match from any for domain {{ \"{DOMAIN}\", \"*.{DOMAIN}\" }} action keep\n",
        path("etc/certificate.pem"),
        path("etc/key.pem"),
        places.opensmtpd.ip(),
        places.opensmtpd.port(),
        path("mail/all"),
    )
}
