//! `token`: an access token for one player, signed with the configured secret. Needs no running service and stores nothing.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{BAD_SETTINGS, FAILED, answer, fail, settings};
use crate::app::auth::{ACCESS_SECONDS, Authenticator};
use crate::app::members;
use crate::config::{Mode, Source};
use crate::domain::clock::SystemClock;

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct Token {
    /// The player it is for.
    #[arg(value_name = "PLAYER_ID")]
    player: String,
    /// An account beside the player, carried in the token.
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Token {
    pub(super) fn run(&self, source: &Source) -> ExitCode {
        if let Err(text) = members::check_player(&self.player) {
            return fail(BAD_SETTINGS, &format!("PLAYER_ID {text}"));
        }
        let config = match settings::load(source, Mode::Start) {
            Ok(config) => config,
            Err(status) => return status,
        };
        let authenticator = Authenticator::new(&config.security, Arc::new(SystemClock));
        match authenticator.access_token(&self.player, self.user_id.as_deref()) {
            Ok(token) => {
                let json = self.json.then(|| {
                    serde_json::json!({
                        "player_id": self.player,
                        "access_token": token,
                        "token_type": "bearer",
                        "expires_in": ACCESS_SECONDS,
                    })
                });
                answer(json, || token.clone(), true)
            }
            Err(error) => fail(FAILED, &error.to_string()),
        }
    }
}
