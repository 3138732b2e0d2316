#pragma once
// JSON that others wrote: no key twice in one object, no surprises of type.

#include <nlohmann/json.hpp>
#include <string>

namespace contrail::model::files {

// Throws UserError `id` with `where` on what is no JSON, and on a key given twice.
nlohmann::json ParseStrictJson(const std::string& text, const std::string& id,
                               const std::string& where);

}  // namespace contrail::model::files
