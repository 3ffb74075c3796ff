//! The page's files, in the binary.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::web::asset::Asset;

/// Nothing from elsewhere, nothing inline; the page talks to its own gateway only. `blob:` is how mpegts.js hands what it
/// made to a `<video>` (MediaSource).
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; \
                          img-src 'self' data:; media-src blob:; base-uri 'none'; form-action 'none'; \
                          frame-ancestors 'none'";

/// Where the player of the operator is, if there is one.
pub const PLAYER: &str = "/player.js";

/// The file at `path`, if there is one.
#[must_use]
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

static ASSETS: LazyLock<BTreeMap<&'static str, Asset>> =
    LazyLock::new(|| FILES.iter().map(|(path, text)| (*path, Asset::embedded(path, text))).collect());

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [
            ("/", include_str!("page/index.html")),
            $((concat!("/page/", $name), include_str!(concat!("page/", $name)))),*
        ]
    };
}

/// Each beside its path.
static FILES: &[(&str, &str)] = &files![
    "page.css",
    "page.js",
    "announced.js",
    "chart.js",
    "detect.js",
    "elements.js",
    "gateway.js",
    "hex.js",
    "interfaces.js",
    "json.js",
    "mse.js",
    "numbers.js",
    "picture.js",
    "player.js",
    "rates.js",
    "refusals.js",
    "sessions.js",
    "snippets.js",
    "sparkline.js",
    "streams.js",
    "table.js",
    "target.js",
    "token.js",
    "topology.js",
    "ts.js",
    "list.js",
    "send.js",
    "video.js",
    "viewer.js",
];
