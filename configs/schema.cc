#include "configs/schema.h"

#include <cmath>

#include "common/strings.h"

namespace contrail {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

struct Limits {
  double min = -kNoLimit;
  double max = kNoLimit;
  bool above_min = false;
};
constexpr Limits kAny{};
constexpr Limits kPositive{.min = 0, .above_min = true};
constexpr Limits kNotNegative{.min = 0};

KeySpec Described(const char* key, Limits limits, const char* help) {
  KeySpec spec;
  spec.key = key;
  spec.help = help;
  spec.min = limits.min;
  spec.max = limits.max;
  spec.above_min = limits.above_min;
  return spec;
}

template <typename Access>
KeySpec Key(const char* key, Access access, Limits limits, const char* help) {
  KeySpec spec = Described(key, limits, help);
  spec.of_config = [access](Config& c) -> Field { return &access(c); };
  return spec;
}

template <typename Access>
KeySpec Choice(const char* key, Access access, std::vector<std::string> choices, const char* help) {
  KeySpec spec = Key(key, access, kAny, help);
  spec.choices = std::move(choices);
  return spec;
}

template <typename Access>
KeySpec PhaseKey(const char* key, Access access, Limits limits, const char* help) {
  KeySpec spec = Described(key, limits, help);
  spec.of_phase = [access](PhaseConfig& p) -> Field { return &access(p); };
  return spec;
}

KeySpec Aside(KeySpec spec) {  // does not change what is trained
  spec.trains = false;
  return spec;
}

KeySpec Before(const char* before, KeySpec spec) {
  spec.before = before;
  return spec;
}

#define AT(path) \
  [](Config & c) -> auto& { return c.path; }
#define PHASE(field) \
  [](PhaseConfig & p) -> auto& { return p.field; }

std::vector<KeySpec> MakeTable() {
  return {
      Key("run.seed", AT(run.seed), kNotNegative,
          "seed of initialisation, sample order and augmentation"),
      Aside(Key("run.name", AT(run.name), kAny,
                "name of the run directory; by default the config file's name without .toml")),
      Aside(Key("run.dir", AT(run.dir), kAny, "folder in which run directories are made")),

      Key("model.name", AT(model.name), kAny, "a model of the registry, for example ViT-B/32"),
      Key("model.init", AT(model.init), kAny,
          "\"random\", or a checkpoint whose weights training starts from"),
      Choice("model.activation", AT(model.activation), {"", "quick_gelu", "gelu"},
             "activation of the MLPs; empty takes the model's own"),
      Key("model.bn_group_size", AT(model.bn_group_size), {.min = 2},
          "ResNets: consecutive samples of the global batch that share batch-norm statistics"),

      Key("data.train", AT(data.train), kAny,
          "tar shards of pairs; {000..999} is a range; paths are relative to the config file; or "
          "\"synthetic\": made-up pairs, to tell the loader from the model"),
      Aside(
          Key("data.index_dir", AT(data.index_dir), kAny,
              "folder of indexes that `contrail data index --index-dir` wrote; empty = beside the "
              "shards")),
      Choice("data.crop", AT(data.crop), {"random-square", "random-resized", "center"},
             "how a training image becomes a square"),
      Key("data.crop_scale_min", AT(data.crop_scale_min), {.min = 0, .max = 1, .above_min = true},
          "smallest area share of a random-resized crop"),
      Before("\"windows\"",
             Choice("data.order", AT(data.order), {"interleaved", "windows"},
                    "interleaved: batches draw from 256 shards, or from all where there are fewer; "
                    "windows: from the few that fill a window, as runs of older versions do")),
      Key("data.shuffle_window", AT(data.shuffle_window), kNotNegative,
          "samples shuffled together; 0 = 16 global batches, at least 65,536"),
      Aside(Key("data.workers", AT(data.workers), {.min = 1, .max = 256},
                "threads a rank that read, decode and tokenise")),
      Key("data.caption_key", AT(data.caption_key), kAny,
          "where captions stand: \"txt\", or \"json:FIELD\" for a field of each sample's .json"),
      Aside(Key("data.max_empty_captions", AT(data.max_empty_captions), {.min = 0, .max = 1},
                "share of samples that may have no caption and train as empty texts")),
      Aside(Key("data.max_replaced", AT(data.max_replaced), {.min = 0, .max = 1},
                "share of samples that may be replaced because they cannot be used; above it (and "
                "above ten) the run stops; 0 = the first one stops it")),
      Key("data.tokenizer", AT(data.tokenizer), kAny,
          "a bpe_simple_vocab_16e6.txt.gz; empty takes the one installed beside the program"),
      Choice("data.mean_std", AT(data.mean_std), {"clip", "half"},
             "normalisation of images: CLIP's mean and std, or 0.5 and 0.5"),
      Key("data.synthetic_samples", AT(data.synthetic_samples), {.min = 1},
          "samples of an epoch where data.train = \"synthetic\""),
      Key("data.synthetic_caption_tokens", AT(data.synthetic_caption_tokens), kAny,
          "tokens of synthetic captions, start and end counted: a number (\"20\") or a range "
          "(\"5-35\"), or a list of such that are equally likely"),

      Key("train.global_batch_size", AT(train.global_batch_size), {.min = 1},
          "samples a step over all ranks; independent of the number of ranks"),
      Aside(Key("train.micro_batch_size", AT(train.micro_batch_size), kNotNegative,
                "samples encoded at once on a rank; 0 or \"auto\" = as many as fit into memory")),
      Key("train.epochs", AT(train.epochs), kNotNegative, "length of training; or give steps"),
      Key("train.steps", AT(train.steps), kNotNegative, "length of training; or give epochs"),
      Key("train.lr", AT(train.lr), kPositive, "peak learning rate"),
      Key("train.warmup_steps", AT(train.warmup_steps), kNotNegative,
          "steps of linear warm-up before the cosine"),
      Key("train.weight_decay", AT(train.weight_decay), kNotNegative,
          "decoupled weight decay; not on gains, biases and the logit scale"),
      Key("train.beta1", AT(train.beta1), {.min = 0, .max = 0.99999999}, "AdamW beta1"),
      Key("train.beta2", AT(train.beta2), {.min = 0, .max = 0.99999999},
          "AdamW beta2; 0 takes the paper's: 0.98 for ViT, 0.999 for ResNet"),
      Key("train.eps", AT(train.eps), kNotNegative,
          "AdamW epsilon; 0 takes the paper's: 1e-6 for ViT, 1e-8 for ResNet"),
      Key("train.grad_clip_norm", AT(train.grad_clip_norm), kNotNegative,
          "global gradient norm above which gradients are scaled down; 0 = off"),
      Key("train.logit_scale_max", AT(train.logit_scale_max), {.min = 1, .max = 100},
          "largest logit scale, clamped after each step"),
      Aside(Choice("train.recompute", AT(train.recompute), {"vit", "text", "resnet"},
                   "kinds of blocks that keep their input only and run again in the backward: less "
                   "memory, a third more work, the same results")),
      Choice("train.precision", AT(train.precision), {"auto", "fp32", "bf16", "fp16"},
             "number format of the towers' matrix products; auto = bf16 where that is faster, else "
             "fp32"),
      Key("train.initial_scale_power", AT(train.initial_scale_power), {.min = 0, .max = 24},
          "fp16's loss scale begins at 2 to this power; it then adapts itself"),
      Choice("train.moments", AT(train.moments), {"fp32", "bf16"},
             "number format of AdamW's moments; bf16 halves them, rounded stochastically"),
      Choice(
          "train.text_weights", AT(train.text_weights), {"fp32", "bf16"},
          "what the text tower's matrices are trained in; bf16 keeps no fp32 masters of them and "
          "rounds updates stochastically, with train.precision bf16 only"),
      Choice("train.loss", AT(train.loss), {"clip", "siglip"},
             "softmax over the batch, or a sigmoid for every pair with a learned bias"),
      Choice("train.grad_reduce", AT(train.grad_reduce), {"fp32", "bf16"},
             "how gradients travel between ranks; they are summed in fp32 either way"),
      Aside(Choice("train.overlap", AT(train.overlap), {"on", "off"},
                   "moves gradients and weights while the towers compute; the results are the "
                   "same")),
      Aside(Key("train.bad_steps_in_a_row", AT(train.bad_steps_in_a_row), {.min = 1},
                "steps with a NaN or infinite loss or gradient are skipped; so many in a row and "
                "the run goes back to its last checkpoint")),
      Aside(Key("train.replica_check_steps", AT(train.replica_check_steps), kNotNegative,
                "every so many steps the weights of all ranks are compared by hash; 0 = never")),

      Aside(Key("checkpoint.every_steps", AT(checkpoint.every_steps), kNotNegative,
                "save after every so many steps; 0 = by time only")),
      Aside(Key("checkpoint.every_minutes", AT(checkpoint.every_minutes), kNotNegative,
                "save after every so many minutes; 0 = by steps only")),
      Aside(Key("checkpoint.keep_last", AT(checkpoint.keep_last), {.min = 1},
                "committed steps kept; older ones are removed")),
      Aside(Key("checkpoint.stall_seconds", AT(checkpoint.stall_seconds), kPositive,
                "a save that moves no byte for so long is given up and begun anew elsewhere")),

      Aside(Key("eval.zero_shot", AT(eval.zero_shot), kAny,
                "folder of a packed data set classified when training ends; empty = none")),
      Aside(Key("eval.batch_size", AT(eval.batch_size), {.min = 1}, "images encoded at once")),

      Aside(Key("launcher.ranks", AT(launcher.ranks), {.min = 1, .max = 1e6},
                "MPI ranks; --ranks wins")),
      Aside(Key("launcher.threads_per_rank", AT(launcher.threads_per_rank), {.min = 0, .max = 4096},
                "compute threads a rank; 0 = cores / local ranks")),
      Aside(Key("launcher.max_restarts", AT(launcher.max_restarts), kNotNegative,
                "restarts in a row, after ranks that died without a word, that bring no new "
                "checkpoint, before giving up (exit 4); 0 = never restart")),
      Aside(Key("launcher.outage_minutes", AT(launcher.outage_minutes), kNotNegative,
                "how long failing disks, nodes, memory and hangs are tried again without a new "
                "checkpoint before giving up (exit 4)")),
      Aside(Key("launcher.hang_seconds", AT(launcher.hang_seconds), kPositive,
                "seconds that a rank may compute without any progress before it counts as hung")),
      Aside(
          Key("launcher.start_seconds", AT(launcher.start_seconds), kPositive,
              "seconds without any progress while starting, reading, saving or waiting for data")),
      Aside(Key("launcher.collective_seconds", AT(launcher.collective_seconds), kNotNegative,
                "longest wait for other ranks in one collective before a rank ends the job "
                "(E-MPI-TIMEOUT); 0 = no limit")),
      Aside(Key("launcher.mpirun", AT(launcher.mpirun), kAny, "the mpirun program")),
      Aside(
          Key("launcher.mpirun_args", AT(launcher.mpirun_args), kAny, "more arguments for mpirun")),

      Aside(Key("telemetry.every_steps", AT(telemetry.every_steps), {.min = 1},
                "steps between telemetry records")),
      Aside(Key("telemetry.status_seconds", AT(telemetry.status_seconds), kPositive,
                "seconds between plain progress lines")),

      PhaseKey("phase.epochs", PHASE(epochs), kNotNegative, "length of the phase; or give steps"),
      PhaseKey("phase.steps", PHASE(steps), kNotNegative, "length of the phase; or give epochs"),
      PhaseKey("phase.resolution", PHASE(resolution), kNotNegative,
               "image size of the phase; 0 = the model's"),
      PhaseKey("phase.lr", PHASE(lr), kNotNegative, "peak learning rate; 0 = train.lr"),
      PhaseKey("phase.warmup_steps", PHASE(warmup_steps), {.min = -1},
               "warm-up of the phase; -1 = train.warmup_steps"),
  };
}

std::string Number(double value) {
  return value == std::floor(value) && std::abs(value) < 1e15
             ? std::to_string(static_cast<long long>(value))
             : ExactDouble(value);
}

std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    const auto code = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (code < 0x20 || code == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      out += std::string("\\u00") + kDigits[code >> 4] + kDigits[code & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct ToToml {
  std::string operator()(const int64_t* v) const { return std::to_string(*v); }
  std::string operator()(const double* v) const {
    std::string text = ExactDouble(*v);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
  }
  std::string operator()(const std::string* v) const { return Quoted(*v); }
  std::string operator()(const std::vector<std::string>* v) const {
    std::vector<std::string> quoted;
    for (const std::string& item : *v) quoted.push_back(Quoted(item));
    return "[" + Join(quoted, ", ") + "]";
  }
};

std::string DefaultText(const KeySpec& spec) {
  Config config;
  PhaseConfig phase;
  return FieldToToml(spec.IsPhase() ? spec.of_phase(phase) : spec.of_config(config));
}

}  // namespace

std::string KeySpec::TypeName() const {
  Config config;
  PhaseConfig phase;
  switch ((IsPhase() ? of_phase(phase) : of_config(config)).index()) {
    case 0:
      return "int";
    case 1:
      return "float";
    case 2:
      return "string";
    default:
      return "list of strings";
  }
}

std::string KeySpec::RangeText() const {
  if (!choices.empty()) {
    std::vector<std::string> quoted;
    for (const std::string& choice : choices) quoted.push_back(Quoted(choice));
    return Join(quoted, " | ");
  }
  std::string text;
  if (min != -kNoLimit) text = (above_min ? "> " : ">= ") + Number(min);
  if (max != kNoLimit) text += (text.empty() ? "<= " : ", <= ") + Number(max);
  return text;
}

const std::vector<KeySpec>& KeyTable() {
  static const std::vector<KeySpec> table = MakeTable();
  return table;
}

const KeySpec* FindKey(const std::string& key) {
  for (const KeySpec& spec : KeyTable()) {
    if (spec.key == key) return &spec;
  }
  return nullptr;
}

std::string FieldToToml(const Field& field) { return std::visit(ToToml{}, field); }

std::string KeyTableMarkdown() {
  std::string out = "| key | type | default | range | meaning |\n| --- | --- | --- | --- | --- |\n";
  for (const KeySpec& spec : KeyTable()) {
    std::string range = spec.RangeText();
    for (size_t at = 0; (at = range.find('|', at)) != std::string::npos; at += 2) {
      range.insert(at, "\\");
    }
    out += "| `" + spec.key + "` | " + spec.TypeName() + " | `" + DefaultText(spec) + "` | " +
           range + " | " + spec.help + " |\n";
  }
  return out;
}

std::string KeyTableText() {
  std::string out;
  std::string table;
  for (const KeySpec& spec : KeyTable()) {
    const size_t dot = spec.key.find('.');
    if (spec.key.substr(0, dot) != table) {
      table = spec.key.substr(0, dot);
      out += (out.empty() ? "" : "\n") + std::string(spec.IsPhase() ? "[[" : "[") + table +
             (spec.IsPhase() ? "]]\n" : "]\n");
    }
    out += "  " + spec.key.substr(dot + 1) + " = " + DefaultText(spec);
    const std::string range = spec.RangeText();
    out += "    # " + spec.help + (range.empty() ? "" : " (" + range + ")") + "\n";
  }
  return out;
}

}  // namespace contrail
