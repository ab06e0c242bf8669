//! The endpoint's OpenAPI document, made from the list of routes so that it names each of them.

use serde_json::{Map, Value, json};

use super::service::ROUTES;

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for (method, path, summary) in ROUTES {
        let mut operation = json!({
            "summary": summary,
            "responses": {
                "200": { "description": "Done, or so already." },
                "default": {
                    "description": "What is wrong and what would fit; nothing was changed.",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
                },
            },
        });
        if let Some(schema) = answer_schema(path) {
            operation["responses"]["200"]["content"] = json!({ "application/json": { "schema": schema } });
        }
        if path.contains("{name}") {
            operation["parameters"] = json!([{
                "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
            }]);
        }
        if let Some(schema) = body_schema(path).filter(|_| *method != "GET") {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": schema } },
            });
        }
        let item = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        item[method.to_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Meltica control endpoint", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/v1" }, { "url": "/", "description": "The same." }],
        "paths": paths,
        "components": {
            "schemas": { "Error": {
                "type": "object",
                "properties": { "error": { "type": "string" }, "fits": { "type": "string" } },
                "required": ["error", "fits"],
            } },
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// Where the numbers of an answer need words.
fn answer_schema(path: &str) -> Option<Value> {
    let bucket = "At most so many nanoseconds; by buckets that double, so up to twice as much as it was.";
    (path == "/streams").then(|| {
        json!({
            "type": "object",
            "properties": { "streams": { "type": "array", "items": { "type": "object", "properties": {
                "shard": { "type": "string" },
                "provider": { "type": "string" },
                "symbol": { "type": "string" },
                "channel": { "type": "string" },
                "events_total": { "type": "integer", "description": "Events, in whatever number of parts." },
                "latency_ns_p50": { "type": "integer", "description": bucket },
                "latency_ns_p99": { "type": "integer", "description": bucket },
                "latency_ns_max": { "type": "integer", "description": "The longest, exactly." },
            } } } },
        })
    })
}

fn body_schema(path: &str) -> Option<Value> {
    Some(match path {
        "/merges" => json!({
            "type": "object",
            "required": ["name"],
            "description": "DELETE takes the name alone; a windowed kind needs window_s and count.",
            "additionalProperties": false,
            "properties": {
                "name": { "type": "string", "pattern": "^[a-z][a-z0-9_]{0,31}$" },
                "shard": { "type": "string", "description": "A merge shard; the first one if left out." },
                "kind": { "type": "string", "examples": ["trade", "ticker", "kline 1m", "bbo", "book_bbo"] },
                "inputs": {
                    "type": "object",
                    "minProperties": 2,
                    "additionalProperties": { "type": "array", "items": { "type": "string" } },
                    "description": "By provider: the n-th instruments of all are joined.",
                },
                "window_s": { "type": "integer", "minimum": 1, "maximum": 3600 },
                "count": { "type": "integer", "minimum": 2, "maximum": 100_000 },
                "partial": { "const": "suppress" },
                "leg_age_ms": { "type": "integer", "minimum": 1, "description": "Of bbo and book_bbo; never if left out." },
                "consumer": { "type": "string", "description": "Who begins to receive it." },
                "delivery": { "enum": ["lossless", "latest"] },
            },
        }),
        "/subscriptions" => json!({
            "type": "object",
            "description": "Either provider, instruments and channels, or merge: the name of a rule.",
            "required": ["consumer"],
            "additionalProperties": false,
            "properties": {
                "consumer": { "type": "string" },
                "provider": { "type": "string" },
                "merge": { "type": "string" },
                "instruments": { "oneOf": [
                    { "const": "all" },
                    { "type": "array", "items": { "type": "string", "examples": ["BTC-USDT"] } },
                ] },
                "channels": { "type": "array", "items": { "type": "string", "examples": ["trade", "kline 1m"] } },
                "delivery": { "oneOf": [
                    { "type": "object", "additionalProperties": { "enum": ["lossless", "book", "latest"] } },
                    { "enum": ["lossless", "latest"], "description": "Of a merge." },
                ] },
                "book_depth": { "oneOf": [{ "const": "full" }, { "type": "integer", "minimum": 1 }] },
            },
        }),
        "/kill" => json!({
            "type": "object",
            "required": ["consumer"],
            "properties": { "consumer": { "type": "string", "description": "A consumer's name, or all." } },
        }),
        "/consumers/{name}/trading" => json!({
            "type": "object",
            "required": ["trading"],
            "properties": { "trading": { "enum": ["on", "off"] } },
        }),
        _ => return None,
    })
}
