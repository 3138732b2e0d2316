#pragma once
// JSON that others wrote: no key twice in one object, no surprises of type, depth or number.

#include <nlohmann/json.hpp>
#include <string>

namespace contrail::model::files {

// Names in files of others are at most so long, and a file has at most so many tensors.
inline constexpr size_t kLongestName = 512;
inline constexpr size_t kMostTensors = 100'000;

// Throws UserError `id` with `where` on what is no JSON, on a key given twice, and on what is
// nested deeper or holds more values than any file of weights: before it has cost memory.
nlohmann::json ParseStrictJson(const std::string& text, const std::string& id,
                               const std::string& where);

}  // namespace contrail::model::files
