#include "model/files/strict_json.h"

#include <set>
#include <vector>

#include "common/error.h"

namespace contrail::model::files {

nlohmann::json ParseStrictJson(const std::string& text, const std::string& id,
                               const std::string& where) {
  using Json = nlohmann::json;
  std::vector<std::set<std::string>> open;  // keys of the objects around the place parsed
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    const std::string what = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    throw UserError(id, where, "is no JSON: " + what.substr(what.find(']') + 2));
  }
  if (!twice.empty()) throw UserError(id, where, "has the key '" + twice + "' twice");
  return json;
}

}  // namespace contrail::model::files
