#include "data/commands.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>
#include <thread>

#include "common/error.h"
#include "common/escape.h"
#include "common/log.h"
#include "common/program.h"
#include "common/strings.h"
#include "configs/load.h"
#include "data/check.h"
#include "data/dataset.h"
#include "data/index_shards.h"
#include "data/order.h"
#include "data/pack.h"
#include "data/synthetic.h"

namespace contrail {
namespace {

using namespace data;

constexpr long kLongMax = std::numeric_limits<long>::max();

std::string Count(uint64_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

int RunPack(const ParsedArgs& args) {
  PackOptions options;
  options.out = args.positional.at(0);
  options.name = args.Value("--name", options.name);
  options.shard_samples =
      static_cast<uint64_t>(args.Int("--shard-samples", 10000, 1, 1'000'000'000));
  options.seed = static_cast<uint64_t>(args.Int("--seed", 0, 0, kLongMax));
  options.limit = static_cast<uint64_t>(args.Int("--limit", 0, 1, kLongMax));
  options.images = args.Value("--images");
  options.labels = args.Value("--labels");
  options.folder = args.Value("--folder");
  options.csv = args.Value("--csv");
  options.classes = args.Value("--classes");
  options.templates = args.Value("--templates");
  if (options.name.empty() || options.name.find('/') != std::string::npos) {
    throw UserError("E-CLI-VALUE", "--name", "a shard name is a file name without slashes");
  }
  options.caption_key = args.Value("--caption-key", options.caption_key);
  const PackResult result = Pack(PosixFileSystem(), options);
  const PackNotes& notes = result.notes;
  if (notes.left_out.Any()) LogWarning("passed over: " + Describe(notes.left_out));
  if (notes.not_utf8 > 0) {
    LogWarning(Count(notes.not_utf8, "caption") + " not in UTF-8, perhaps in Windows-1252, first " +
               notes.first_not_utf8);
  }
  if (notes.empty > 0) {
    LogWarning(Count(notes.empty, "caption") + " of nothing but white space, first " +
               notes.first_empty);
  }
  LogInfo("packed " + Count(result.samples, "sample") + " into " +
          Count(result.shards.size(), "shard") + " (" + HumanBytes(result.bytes) + "): " +
          result.shards.front() + (result.shards.size() > 1 ? " to " + result.shards.back() : ""));
  return kExitDone;
}

int RunIndex(const ParsedArgs& args) {
  const IndexResult result =
      IndexShards(PosixFileSystem(), args.positional, args.Value("--index-dir"));
  if (result.current + result.written == 0) {
    throw UserError("E-DATA-EMPTY", Join(args.positional, ", "), "no .tar there");
  }
  LogInfo(Count(result.written, "index file") + " written, " + std::to_string(result.current) +
          " current already, " + Count(result.samples, "sample"));
  return kExitDone;
}

// A share of samples, 0 to 1.
double Share(const ParsedArgs& args, const std::string& option, double otherwise) {
  const std::string text = args.Value(option);
  if (text.empty()) return otherwise;
  double share = -1;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), share);
  if (code != std::errc() || end != text.data() + text.size() || !(share >= 0 && share <= 1)) {
    throw UserError("E-CLI-VALUE", option, "'" + text + "' is no share",
                    "give a number from 0 to 1");
  }
  return share;
}

int RunCheck(const ParsedArgs& args) {
  const double max_empty = Share(args, "--max-empty-captions", Config().data.max_empty_captions);
  const auto dataset =
      Dataset::Open(args.positional, {}, ParseCaptionKey(args.Value("--caption-key", "txt")),
                    args.Value("--index-dir"));
  const auto tokenizer = Tokenizer::Load();
  const int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const CheckReport report = CheckDataset(*dataset, *tokenizer, threads);
  Print(args.Has("--json") ? ReportJson(report) : ReportText(report));
  CheckMissingCaptions(report.missing(), max_empty, Join(args.positional, ", "));
  return report.broken.empty() ? kExitDone : kExitUser;
}

int RunOrder(const ParsedArgs& args) {
  const Config config = LoadConfig(args.positional.at(0), args.Values("--set"));
  const auto dataset = config.synthetic() ? MakeSynthetic(config)
                                          : Dataset::Open(config.data.train, {},
                                                          ParseCaptionKey(config.data.caption_key),
                                                          config.data.index_dir);
  const SampleOrder order(static_cast<uint64_t>(config.run.seed), dataset->shard_sizes(),
                          ShuffleWindow(config), ParseOrder(config.data.order));
  const auto epoch = static_cast<uint64_t>(args.Int("--epoch", 0, 0, kLongMax));
  const auto from = static_cast<uint64_t>(args.Int("--from", 0, 0, kLongMax));
  const auto count = static_cast<uint64_t>(args.Int("--count", kLongMax, 0, kLongMax));
  if (from >= order.size()) {
    throw UserError("E-CLI-VALUE", "--from",
                    "an epoch has positions 0 to " + std::to_string(order.size() - 1));
  }
  const uint64_t end = from + std::min(count, order.size() - from);
  std::string lines;
  for (uint64_t position = from; position < end; ++position) {
    lines += Escape(dataset->Key(order.At(epoch, position))) + "\n";
    if (lines.size() > 1 << 20 || position + 1 == end) {
      Print(lines);
      lines.clear();
    }
  }
  return kExitDone;
}

}  // namespace

int RunDataCommand(const ParsedArgs& args) {
  const std::string& name = args.command->name;
  if (name == "data pack") return RunPack(args);
  if (name == "data index") return RunIndex(args);
  if (name == "data check") return RunCheck(args);
  if (name == "data order") return RunOrder(args);
  BugAt(__FILE__, __LINE__, "every data command of the table is run");
}

}  // namespace contrail
