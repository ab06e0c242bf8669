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
        "/subscriptions" => json!({
            "type": "object",
            "required": ["consumer", "provider", "instruments", "channels"],
            "additionalProperties": false,
            "properties": {
                "consumer": { "type": "string" },
                "provider": { "type": "string" },
                "instruments": { "oneOf": [
                    { "const": "all" },
                    { "type": "array", "items": { "type": "string", "examples": ["BTC-USDT"] } },
                ] },
                "channels": { "type": "array", "items": { "type": "string", "examples": ["trade", "kline 1m"] } },
                "delivery": { "type": "object", "additionalProperties": { "enum": ["lossless", "book", "latest"] } },
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
