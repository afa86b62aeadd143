//! Compiles the protobuf files without a system protoc.

#![allow(clippy::print_stdout, reason = "that is how a build script speaks")]

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    let files = ["submit", "work", "events", "accounts", "tls", "admin"]
        .map(|name| root.join(format!("mailtier/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(files, [root])?;
    // What a test holds the table of roles against.
    let services = descriptors.file.iter().flat_map(|file| &file.service);
    let admin = services.filter(|service| service.name() == "Admin").flat_map(|service| &service.method);
    let calls: Vec<&str> = admin.map(|method| method.name()).collect();
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("admin_calls.in"), format!("&{calls:?}"))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
