#pragma once
// TOML file + --set overrides -> validated Config; and back to a resolved TOML with origins.

#include <map>
#include <string>
#include <vector>

#include "configs/config.h"

namespace contrail {

// Reads and validates. Every mistake is one UserError with file:line (or "--set") and key:
// unknown key (with the nearest key and its table), wrong type, out of range, NaN, two of
// epochs/steps, missing [data] train. Relative data paths are made absolute against the file.
// `overrides` are "key.path=value" texts; bare words are taken as strings.
Config LoadConfig(const std::string& path, const std::vector<std::string>& overrides = {});

// The resolved config as TOML, each line ending in "# <origin>"; LoadConfig reads it back to an
// equal Config.
std::string ToToml(const Config& config);

// Reads RUN/config.toml (a resolved config): as LoadConfig, but origins come from the comments.
Config LoadResolved(const std::string& run_dir, const std::vector<std::string>& overrides = {});

// Key -> value text of a resolved config, without reading it as a Config: what a checkpoint of an
// older or newer build was trained with. "train.lr" -> "0.001"; strings keep their quotes; keys of
// the n-th [[phase]] are "phase n.lr".
std::map<std::string, std::string> ResolvedValues(const std::string& toml);

// Fingerprint of everything that changes what is trained (not rank counts, logging, retention).
std::string TrainingFingerprint(const Config& config);

}  // namespace contrail
