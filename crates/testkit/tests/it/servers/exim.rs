//! Exim, Debian's light daemon.

use super::remote::{Offers, Remote};
use super::sandbox::{SERVER, Sandbox, Server};
use super::{Places, World};

const DOMAIN: &str = "exim.test";

#[test]
fn exim_has_what_was_sent() {
    let Some(world) = World::shared() else { return };
    let server = start(&world.places);
    let notifications = &["mta: dns; exim.test", "action: delivered", "envelope-7", "first@alias.test"];
    let offers = Offers { one_go: true, smtputf8: true, notifications };
    let remote = Remote { world: &world, server: &server, domain: DOMAIN, offers };
    remote.has_all();
    remote.has_contents(world.without_chunking(), DOMAIN, "> DATA");
    remote.has_text_by_starttls("with esmtps");
}

fn start(places: &Places) -> Server {
    let sandbox = Sandbox::new("exim");
    for folder in ["var/spool/exim4", "var/log/exim4"] {
        sandbox.folder(folder, SERVER, SERVER, 0o755);
    }
    sandbox.write("etc/exim4/exim4.conf", &configuration(&sandbox, places));
    sandbox.start(&["/usr/sbin/exim4", "-bdf"], places.exim)
}

fn configuration(sandbox: &Sandbox, places: &Places) -> String {
    let path = |name: &str| sandbox.path(name).display().to_string();
    format!(
        "primary_hostname = {DOMAIN}\nlocal_interfaces = <; [{}]:{}\nkeep_environment =\nhost_lookup =\nrfc1413_hosts =\n\
         log_file_path = /var/log/exim4/%slog\nmessage_size_limit = 50M\n\
         smtp_accept_queue_per_connection = 0\n\
         smtputf8_advertise_hosts = *\ndsn_advertise_hosts = *\nchunking_advertise_hosts = *\ntls_advertise_hosts = *\n\
         tls_certificate = {}\ntls_privatekey = {}\n\
         acl_smtp_rcpt = recipient\nacl_smtp_data = accept\n\
         begin acl\nrecipient:\n  deny local_parts = unknown\n       message = no such user\n  \
         accept domains = {DOMAIN} : *.{DOMAIN}\n\
         begin routers\nours:\n  driver = accept\n  domains = {DOMAIN} : *.{DOMAIN}\n  transport = keep\n\
         begin transports\nkeep:\n  driver = appendfile\n  directory = {}\n  maildir_format\n  \
         user = reader\n  group = reader\n  envelope_to_add\n  return_path_add\n",
        places.exim.ip(),
        places.exim.port(),
        path("etc/certificate.pem"),
        path("etc/key.pem"),
        path("mail/all"),
    )
}
