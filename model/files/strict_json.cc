#include "model/files/strict_json.h"

#include <set>
#include <vector>

#include "common/error.h"
#include "common/escape.h"

namespace contrail::model::files {
namespace {

using Json = nlohmann::json;

constexpr int kMostNesting = 64;  // what walks over a value may recurse
// A tensor of a safetensors header is an object of three, with two lists of a few numbers.
constexpr size_t kMostValues = 32 * kMostTensors;

struct Refused {
  std::string what;
};

// Stands by while text is parsed, and says why it is not taken.
class Watch {
 public:
  bool See(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kMostNesting)
      Refuse("is nested more than " + std::to_string(kMostNesting) + " deep");
    if (++values_ > kMostValues) {
      Refuse("holds more than " + std::to_string(kMostValues) + " values");
    }
    if (event == Event::object_start) open_.emplace_back();
    if (event == Event::object_end) open_.pop_back();
    if (event == Event::key) AddKey(parsed.get_ref<const std::string&>());
    return true;
  }

 private:
  [[noreturn]] static void Refuse(const std::string& what) { throw Refused{what}; }
  void AddKey(const std::string& key) {
    if (!open_.back().insert(key).second) Refuse("has the key '" + EscapeShort(key) + "' twice");
  }

  std::vector<std::set<std::string>> open_;  // keys of the objects around the place parsed
  size_t values_ = 0;
};

}  // namespace

Json ParseStrictJson(const std::string& text, const std::string& id, const std::string& where) {
  Watch watch;
  try {
    return Json::parse(text, [&](int depth, Json::parse_event_t event, Json& parsed) {
      return watch.See(depth, event, parsed);
    });
  } catch (const Refused& refused) {
    throw UserError(id, where, refused.what);
  } catch (const Json::exception& error) {
    const std::string what = error.what();  // "[json.exception.parse_error.101] parse error at ..."
    throw UserError(id, where, "is no JSON: " + EscapeShort(what.substr(what.find(']') + 2)));
  }
}

}  // namespace contrail::model::files
