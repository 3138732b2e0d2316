#pragma once
// Tolerant reading of the run directory's JSON files; for .cc files of this folder only. A missing
// or ill-typed field gives the fallback: a newer writer must not break an older viewer.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "common/file_system.h"

namespace contrail::monitor {

template <typename T>
T Field(const nlohmann::json& object, const char* key, T fallback) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    return found->is_string() ? found->get<std::string>() : fallback;
  } else if constexpr (std::is_same_v<T, bool>) {
    return found->is_boolean() ? found->get<bool>() : fallback;
  } else {
    if (!found->is_number()) return fallback;
    if constexpr (std::is_unsigned_v<T>) {
      return found->get<double>() < 0 ? fallback : found->get<T>();
    } else {
      return found->get<T>();
    }
  }
}

// One line; text that is not UTF-8 (a file name, a signal's garbage) is replaced, never thrown at.
inline std::string DumpLine(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// A discarded value where the text is no JSON, or is nested deeper than anything that is written
// here: what walks over a value may recurse.
inline nlohmann::json ParseJson(const std::string& text) {
  constexpr int kMostNesting = 64;
  bool deep = false;
  const auto watch = [&deep](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    deep = deep || depth > kMostNesting;
    return !deep;
  };
  nlohmann::json value = nlohmann::json::parse(text, watch, /*allow_exceptions=*/false);
  return deep ? nlohmann::json(nlohmann::json::value_t::discarded) : value;
}

// nullopt where the file is missing or holds no object (it may be half copied). Throws E-IO where
// it cannot be read: that says nothing about what is in it.
inline std::optional<nlohmann::json> ReadJsonObject(const FileSystem& fs, const std::string& path) {
  const std::optional<std::string> text = fs.ReadIfThere(path);
  if (!text) return std::nullopt;
  nlohmann::json value = ParseJson(*text);
  return value.is_object() ? std::optional(std::move(value)) : std::nullopt;
}

}  // namespace contrail::monitor
