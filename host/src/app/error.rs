//! Errors by meaning. `http/error.rs` alone knows their statuses; internal text goes to the log, never to a client.

use crate::domain::session::FallbackReason;
use crate::ports::delivery::Refused;
use crate::ports::live::LiveError;
use crate::ports::storage::StorageError;

/// A bad member of a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The member's name, dotted for nested ones.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why a use case did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request's members are bad; each is named.
    #[error("validation failed")]
    Invalid(Vec<FieldError>),
    /// No such thing. The text is for the client.
    #[error("{0}")]
    NotFound(String),
    /// The thing is in a state that does not allow it. The text is for the client.
    #[error("{0}")]
    WrongState(String),
    /// Peer-to-peer cannot serve; players use the game server.
    #[error("{}", .0.detail())]
    Fallback(FallbackReason),
    /// A release is not taken: the step that failed, why, and what to do.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// No credential, or a bad one. The text is for the client.
    #[error("{0}")]
    Unauthorized(String),
    /// A good credential without the right. The text is for the client.
    #[error("{0}")]
    Forbidden(String),
    /// A part of the service is away; trying again may help.
    #[error("temporarily unavailable")]
    Unavailable(#[source] anyhow::Error),
    /// Our fault.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

impl From<StorageError> for AppError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Unavailable(cause) => Self::Unavailable(cause),
            StorageError::Internal(cause) => Self::Internal(cause),
        }
    }
}

impl From<LiveError> for AppError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Unavailable(cause) => Self::Unavailable(cause),
        }
    }
}
