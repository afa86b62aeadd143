//! Dovecot, over LMTP: at a port, and at a socket. It offers no DSN, nor SMTPUTF8.

use super::remote::{Offers, Remote};
use super::sandbox::{Sandbox, Server};
use super::{Places, World};

const DOMAIN: &str = "dovecot.test";

#[test]
fn dovecot_has_what_was_sent() {
    let Some(world) = World::shared() else { return };
    let server = start(&world.places);
    let offers = Offers { one_go: false, smtputf8: false, notifications: &[] };
    let remote = Remote { world: &world, server: &server, domain: DOMAIN, offers };
    remote.has_all();
    remote.has_contents(
        &world.chunking,
        "socket.dovecot.test",
        &format!("* {}\n", world.places.dovecot_socket.display()),
    );
    remote.has_text_by_starttls("with LMTPS");
}

fn start(places: &Places) -> Server {
    let sandbox = Sandbox::new("dovecot");
    for folder in ["run/dovecot", "var/lib/dovecot"] {
        sandbox.folder(folder, 0, 0, 0o755);
    }
    let users = ["reader", "second", "sender"].map(|user| format!("{user}:::::{}::\n", sandbox.path("mail").display()));
    sandbox.write("etc/dovecot/users", &users.concat());
    sandbox.write("etc/dovecot/dovecot.conf", &configuration(&sandbox, places));
    sandbox.start(&["/usr/sbin/dovecot", "-F"], places.dovecot)
}

fn configuration(sandbox: &Sandbox, places: &Places) -> String {
    let path = |name: &str| sandbox.path(name).display().to_string();
    format!(
        "protocols = lmtp\nhostname = {DOMAIN}\ndefault_internal_user = dovecot\ndefault_internal_group = dovecot\n\
         default_login_user = nobody\nlog_path = /var/log/dovecot.log\n\
         mail_location = maildir:{}\nmail_uid = reader\nmail_gid = reader\n\
         ssl = yes\nssl_cert = <{}\nssl_key = <{}\n\
         passdb {{\n  driver = static\n}}\n\
         userdb {{\n  driver = passwd-file\n  args = username_format=%n /etc/dovecot/users\n}}\n\
         service lmtp {{\n  inet_listener lmtp {{\n    address = {}\n    port = {}\n  }}\n  \
         unix_listener {} {{\n    mode = 0666\n  }}\n}}\n",
        path("mail/all"),
        path("etc/certificate.pem"),
        path("etc/key.pem"),
        places.dovecot.ip(),
        places.dovecot.port(),
        places.dovecot_socket.display(),
    )
}
