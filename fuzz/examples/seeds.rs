//! Writes the vectors of `tests/vectors` to `fuzz/corpus`, a file each.

use std::fs;
use std::path::Path;

use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (vectors, target) in [("records.json", "client_record"), ("control.json", "client_control")] {
        let corpus = here.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let text = fs::read_to_string(here.join("../tests/vectors").join(vectors))?;
        let lists: serde_json::Map<String, Value> = serde_json::from_str(&text)?;
        for (list, entries) in &lists {
            for (number, entry) in entries.as_array().into_iter().flatten().enumerate() {
                let bytes = match (entry["hex"].as_str(), entry["text"].as_str()) {
                    (Some(hex), _) => decode(hex)?,
                    (None, Some(text)) => text.as_bytes().to_vec(),
                    (None, None) => continue,
                };
                fs::write(corpus.join(format!("{list}-{number}")), bytes)?;
            }
        }
    }
    Ok(())
}

fn decode(hex: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    hex.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
