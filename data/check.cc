#include "data/check.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "common/strings.h"
#include "data/image.h"

namespace contrail::data {
namespace {

void CheckCaption(const std::string& caption, const std::string& key, const Tokenizer& tokenizer,
                  CheckReport& part) {
  if (Trim(caption).empty()) {
    if (part.missing_captions++ == 0) part.first_missing = key;
    return;
  }
  const size_t length = tokenizer.Encode(caption).size();
  ++part.tokens[length];
  // A caption of exactly 77 tokens counts as cut; few are that long by nature.
  part.cut_captions += length == kContextLength ? 1 : 0;
  const std::string_view encoding = OtherEncoding(caption);
  if (encoding.empty()) return;
  if (part.other_encodings++ == 0) part.first_other = key + " is " + std::string(encoding);
}

// One thread's part of the report.
void CheckSample(const Dataset& dataset, const Tokenizer& tokenizer, uint64_t i,
                 CheckReport& part) {
  const std::string key = dataset.Key(i);
  try {
    const Dataset::Sample sample = dataset.Read(i);
    part.image_bytes += sample.image.size();
    part.labelled += sample.label >= 0 ? 1 : 0;
    CheckCaption(sample.caption, key, tokenizer, part);
    DecodeImage(sample.image, key);
  } catch (const SampleError& error) {
    part.broken.emplace_back(key, error.what());
  } catch (const Error& error) {
    if (error.id() != "E-DATA-IMAGE") throw;  // the picture's; all else ends the check
    part.broken.emplace_back(key, error.what());
  }
}

CheckReport EmptyReport() {
  CheckReport report;
  report.tokens.resize(kContextLength + 1);
  return report;
}

void Merge(const CheckReport& part, CheckReport& total) {
  total.image_bytes += part.image_bytes;
  if (total.first_missing.empty()) total.first_missing = part.first_missing;
  total.missing_captions += part.missing_captions;
  if (total.first_other.empty()) total.first_other = part.first_other;
  total.other_encodings += part.other_encodings;
  total.labelled += part.labelled;
  total.cut_captions += part.cut_captions;
  for (size_t n = 0; n < part.tokens.size(); ++n) total.tokens[n] += part.tokens[n];
  total.broken.insert(total.broken.end(), part.broken.begin(), part.broken.end());
}

}  // namespace

MissingCaptions CheckReport::missing() const {
  const bool evaluation = missing_captions == samples && labelled == samples;
  return {evaluation ? 0 : missing_captions, samples, first_missing};
}

double CheckReport::mean_tokens() const {
  uint64_t captions = 0;
  uint64_t sum = 0;
  for (size_t n = 0; n < tokens.size(); ++n) {
    captions += tokens[n];
    sum += n * tokens[n];
  }
  return captions == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(captions);
}

uint64_t CheckReport::tokens_below(double share) const {
  uint64_t captions = 0;
  for (const uint64_t count : tokens) captions += count;
  uint64_t seen = 0;
  for (size_t n = 0; n < tokens.size(); ++n) {
    seen += tokens[n];
    if (captions > 0 && static_cast<double>(seen) >= share * static_cast<double>(captions))
      return n;
  }
  return 0;
}

CheckReport CheckDataset(const Dataset& dataset, const Tokenizer& tokenizer, int threads) {
  constexpr uint64_t kChunk = 256;  // neighbours share a shard
  const uint64_t chunks = (dataset.size() + kChunk - 1) / kChunk;
  std::vector<CheckReport> parts(chunks);
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto work = [&] {
    try {
      for (uint64_t chunk; (chunk = next++) < chunks;) {
        CheckReport part = EmptyReport();
        const uint64_t end = std::min((chunk + 1) * kChunk, dataset.size());
        for (uint64_t i = chunk * kChunk; i < end; ++i) CheckSample(dataset, tokenizer, i, part);
        parts[chunk] = std::move(part);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
      next = chunks;
    }
  };
  std::vector<std::thread> pool;
  for (int i = 1; i < threads; ++i) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  if (error) std::rethrow_exception(error);

  CheckReport report = EmptyReport();
  report.shards = dataset.shard_sizes().size();
  report.samples = dataset.size();
  report.left_out = dataset.left_out();
  for (const CheckReport& part : parts) Merge(part, report);
  return report;
}

std::string ReportText(const CheckReport& r) {
  constexpr size_t kShown = 20;
  std::string text;
  const auto line = [&](const std::string& what, const std::string& value) {
    text += what + std::string(20 - what.size(), ' ') + value + "\n";
  };
  line("shards", std::to_string(r.shards));
  line("samples", std::to_string(r.samples));
  line("image bytes", HumanBytes(r.image_bytes));
  line("undecodable images", std::to_string(r.broken.size()));
  line("passed over", r.left_out.Any() ? Describe(r.left_out) : "0");
  const auto first = [](const std::string& key) { return key.empty() ? "" : ", first " + key; };
  line("missing captions", std::to_string(r.missing_captions) + first(r.first_missing));
  line("captions not UTF-8", std::to_string(r.other_encodings) + first(r.first_other));
  line("labelled", std::to_string(r.labelled));
  char tokens[128];
  std::snprintf(tokens, sizeof tokens, "mean %.1f, half within %llu, 99 %% within %llu",
                r.mean_tokens(), static_cast<unsigned long long>(r.tokens_below(0.5)),
                static_cast<unsigned long long>(r.tokens_below(0.99)));
  line("caption tokens", tokens);
  line("cut at 77 tokens", std::to_string(r.cut_captions));
  for (size_t i = 0; i < std::min(kShown, r.broken.size()); ++i) text += r.broken[i].second + "\n";
  if (r.broken.size() > kShown) {
    text += "... and " + std::to_string(r.broken.size() - kShown) + " more (--json lists all)\n";
  }
  return text;
}

namespace {

nlohmann::ordered_json LeftOutJson(const LeftOut& counts) {
  nlohmann::ordered_json json = {{"groups", counts.groups}};
  for (size_t i = 0; i < kLeftOutKinds.size(); ++i) json[kLeftOutKinds[i]] = counts.pictures[i];
  return json;
}

}  // namespace

std::string ReportJson(const CheckReport& r) {
  nlohmann::ordered_json broken = nlohmann::ordered_json::array();
  for (const auto& [key, message] : r.broken) broken.push_back({{"key", key}, {"error", message}});
  const nlohmann::ordered_json json = {{"shards", r.shards},
                                       {"samples", r.samples},
                                       {"image_bytes", r.image_bytes},
                                       {"undecodable", broken},
                                       {"passed_over", LeftOutJson(r.left_out)},
                                       {"missing_captions", r.missing_captions},
                                       {"captions_not_utf8", r.other_encodings},
                                       {"labelled", r.labelled},
                                       {"mean_tokens", r.mean_tokens()},
                                       {"token_histogram", r.tokens},
                                       {"cut_captions", r.cut_captions}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace contrail::data
