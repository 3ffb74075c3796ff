//! `wscast check-config`: reads a configuration file and says what is wrong with it.

use std::path::Path;

use crate::model::config::{Config, Overrides};
use crate::tools::failure::Failure;
use crate::web::access::Access;

/// Checks the file at `path`, and the file of keys that it names.
///
/// # Errors
/// [`Failure::Usage`] with line, column and caret, or with what is wrong with the keys.
pub fn run(path: &Path) -> Result<(), Failure> {
    let config = read(Some(path), Overrides::default())?;
    let access = Access::load(&config).map_err(|error| Failure::Usage(error.to_string()))?;
    let keys = match (&config.jwt, access.keys()) {
        (None, _) => String::new(),
        (Some(_), 1) => ", one key for JWTs".to_owned(),
        (Some(_), keys) => format!(", {keys} keys for JWTs"),
    };
    println!("{}: ok, {} named streams{keys}", path.display(), config.streams.len());
    Ok(())
}

/// The configuration from a file, if there is one, and what flags and environment say.
///
/// # Errors
/// [`Failure::Usage`].
pub fn read(path: Option<&Path>, overrides: Overrides) -> Result<Config, Failure> {
    let text = path.map(text_of).transpose()?;
    let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    Config::build(file, overrides).map_err(|error| Failure::Usage(error.to_string()))
}

/// A file's name for errors, and its text.
///
/// # Errors
/// [`Failure::Usage`].
pub fn text_of(path: &Path) -> Result<(String, String), Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("reading the configuration {}: {error}", path.display())))?;
    Ok((path.display().to_string(), text))
}
