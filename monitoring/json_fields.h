#pragma once
// Tolerant reading of the run directory's JSON files; for .cc files of this folder only. A missing
// or ill-typed field gives the fallback: a newer writer must not break an older viewer.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>

#include "common/error.h"
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

// nullopt where the file is missing, unreadable or not an object (it may be half copied).
inline std::optional<nlohmann::json> ReadJsonObject(const FileSystem& fs, const std::string& path) {
  if (!fs.Exists(path)) return std::nullopt;
  try {
    nlohmann::json value = nlohmann::json::parse(fs.ReadAll(path), nullptr, false);
    if (value.is_object()) return value;
  } catch (const Error&) {
    // Replaced or removed between the two calls.
  }
  return std::nullopt;
}

}  // namespace contrail::monitor
