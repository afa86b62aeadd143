//! The way to the admin API: which replica, which token. Not responsible for what is asked.

use std::sync::Arc;

use mailtier_api::admin::AdminClient;
use mailtier_api::{ApiError, ClusterTls, Credentials};
use mailtier_config::Secret;
use mailtier_types::text::Chain;

use crate::cli::{AdminOptions, Failure};

/// Connects, showing the operator's token.
pub(crate) async fn connect(options: &AdminOptions) -> anyhow::Result<AdminClient> {
    let (path, server) = (options.secret_file(), options.server());
    let token = std::fs::read_to_string(&path).map_err(|error| {
        let hint = "--secret-file or --data names another";
        Failure::error(Failure::NO_INPUT, format!("cannot read the admin token {} ({hint}): {error}", path.display()))
    })?;
    if token.trim().is_empty() {
        let empty = format!("the admin token {} is empty", path.display());
        return Err(Failure::error(Failure::NO_INPUT, empty));
    }
    let token = Secret::new(token.trim().to_owned());
    let tls = if server.starts_with("https://") { Some(trust(options)?) } else { None };
    let connected = AdminClient::connect_within(&server, Credentials::of_operator(token, tls), options.timeout).await;
    connected.map_err(|error| failure(&server, error))
}

/// By what the queue's certificate is checked.
fn trust(options: &AdminOptions) -> anyhow::Result<Arc<ClusterTls>> {
    let Some(path) = options.authority() else {
        let missing = "https:// needs the authority that issued the queue's certificate: give --ca or MAILTIER_ADMIN_CA, or \
                       `cluster.tls_ca` in the file that MAILTIER_CONFIG names";
        return Err(Failure::error(Failure::USAGE, missing));
    };
    ClusterTls::trusting(&path).map_err(|error| Failure::error(Failure::NO_INPUT, Chain(&error).to_string()))
}

/// An answer of the API as a failure of the command.
pub(crate) fn failure(server: &str, error: ApiError) -> anyhow::Error {
    let code = match &error {
        ApiError::Unauthenticated(_) | ApiError::Forbidden(_) => Failure::NO_PERMISSION,
        ApiError::Invalid(_) | ApiError::NotFound(_) => Failure::BAD_DATA,
        ApiError::Late { .. } => {
            let hint = "--timeout waits longer; if it was a change, it may have been made";
            return Failure::error(Failure::TRY_AGAIN, format!("{server}: {error} ({hint})"));
        }
        ApiError::Unavailable(_) | ApiError::Endpoint { .. } | ApiError::Internal(_) => Failure::UNAVAILABLE,
    };
    Failure::error(code, format!("{server}: {error}"))
}
