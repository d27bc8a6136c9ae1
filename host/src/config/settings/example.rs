//! The settings as a file to copy.

use super::{POLICY_PREFIX, SETTINGS};

/// The example file: every setting with its meaning, commented out at its default.
#[must_use]
pub fn example_file() -> String {
    let mut text = String::from(
        "# Settings of the P2P coordinator. Copy to .env in the working folder, or hand over with --env-file.\n\
         # A variable of the environment goes before the same variable here. `p2p-coordinator check-config` shows\n\
         # what holds and where each value comes from.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n# --- {section} ---\n"));
        }
        text.push_str(&format!(
            "\n# {}\n# {}={}\n",
            setting.meaning, setting.name, setting.default
        ));
    }
    text.push_str(&format!(
        "\n# Every other variable with the prefix {POLICY_PREFIX} is handed to the policies by name.\n"
    ));
    text
}
