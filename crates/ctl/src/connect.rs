//! The way to the admin API: which replica, which token. Not responsible for what is asked.

use mailtier_api::ApiError;
use mailtier_api::admin::AdminClient;
use mailtier_config::Secret;

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
    AdminClient::connect(&server, Some(&token)).await.map_err(|error| failure(&server, error))
}

/// An answer of the API as a failure of the command.
pub(crate) fn failure(server: &str, error: ApiError) -> anyhow::Error {
    let code = match &error {
        ApiError::Unauthenticated(_) | ApiError::Forbidden(_) => Failure::NO_PERMISSION,
        ApiError::Invalid(_) | ApiError::NotFound(_) => Failure::BAD_DATA,
        ApiError::Unavailable(_) | ApiError::Endpoint { .. } | ApiError::Internal(_) => Failure::UNAVAILABLE,
    };
    Failure::error(code, format!("{server}: {error}"))
}
