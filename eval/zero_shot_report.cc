// A zero-shot result as JSON and as a table for people.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "common/escape.h"
#include "eval/prompts.h"
#include "eval/zero_shot.h"

namespace contrail::eval {
namespace {

nlohmann::ordered_json ScoreJson(const Score& score) {
  nlohmann::ordered_json per_class = nlohmann::ordered_json::array();
  for (const double accuracy : score.per_class) {
    // A class without an image has no accuracy.
    per_class.push_back(std::isnan(accuracy) ? nlohmann::ordered_json()
                                             : nlohmann::ordered_json(accuracy));
  }
  return {{"top1", score.top1}, {"top5", score.top5}, {"per_class", per_class}};
}

std::string Percent(double share) {
  if (std::isnan(share)) return "     -";
  char text[32];
  std::snprintf(text, sizeof text, "%5.1f%%", 100 * share);
  return text;
}

}  // namespace

std::string ToJson(const ZeroShotResult& result) {
  nlohmann::ordered_json one_prompt = ScoreJson(result.one_prompt);
  one_prompt["prompt"] = kOnePrompt;
  nlohmann::ordered_json ensemble = ScoreJson(result.ensemble);
  ensemble["templates"] = result.templates;
  const nlohmann::ordered_json json = {
      {"task", "zero-shot"},
      {"checkpoint", result.checkpoint},
      {"step", result.step},
      {"model", result.model},
      {"dataset", result.dataset},
      {"samples", result.samples},
      {"class_names", result.class_names},
      {"one_prompt", one_prompt},
      {"ensemble", ensemble},
      {"seconds", result.seconds},
      {"samples_per_second", result.samples_per_second},
  };
  // A class name that is no UTF-8 must not cost an evaluation.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string ToText(const ZeroShotResult& result) {
  size_t width = 12;
  for (const std::string& name : result.class_names) {
    width = std::max(width, EscapeShort(name).size() + 2);
  }
  const auto line = [&](std::string name, const std::string& one, const std::string& many) {
    name.resize(width, ' ');
    return name + "  " + one + "  " + many + "\n";
  };
  char speed[64];
  std::snprintf(speed, sizeof speed, "%.0f images/s", result.samples_per_second);
  std::string text = "zero-shot, " + std::to_string(result.samples) + " images, " +
                     std::to_string(result.class_names.size()) + " classes, " + speed + "\n" +
                     result.model + ", step " + std::to_string(result.step) + "\n\n";
  text += line("", "1 prompt", std::to_string(result.templates) + " prompts");
  text +=
      line("top-1", "  " + Percent(result.one_prompt.top1), "   " + Percent(result.ensemble.top1));
  text +=
      line("top-5", "  " + Percent(result.one_prompt.top5), "   " + Percent(result.ensemble.top5));
  for (size_t c = 0; c < result.class_names.size(); ++c) {
    text += line("  " + EscapeShort(result.class_names[c]),
                 "  " + Percent(result.one_prompt.per_class[c]),
                 "   " + Percent(result.ensemble.per_class[c]));
  }
  return text;
}

}  // namespace contrail::eval
