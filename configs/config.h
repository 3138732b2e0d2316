#pragma once
// The configuration of a run as plain structs. Keys, types, defaults, ranges and help live in one
// table (schema.cc): validation, --help, docs/config.md and shell completions come from it.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace contrail {

// [[phase]]: a stretch of training at one resolution. Without any, the run is one phase made from
// [train]. Zero or empty means "inherit from [train] / the model".
struct PhaseConfig {
  double epochs = 0;
  int64_t steps = 0;
  int64_t resolution = 0;
  double lr = 0;
  int64_t warmup_steps = -1;
};

// data.train = "synthetic": pictures and captions are made up, not read.
inline constexpr const char* kSynthetic = "synthetic";

struct Config {
  struct {
    int64_t seed = 0;
    std::string name;          // default: the config file's stem
    std::string dir = "runs";  // run directories are made in here
  } run;
  struct {
    std::string name = "ViT-B/32";
    std::string init = "random";  // or a checkpoint's path
    std::string activation;       // "" = the model's own; "quick_gelu" | "gelu"
    int64_t bn_group_size = 64;   // ResNets: consecutive samples that share batch statistics
  } model;
  struct {
    std::vector<std::string> train;  // tar shards, braces allowed; relative to the config file;
                                     // or "synthetic"
    std::string index_dir;           // "" = indexes lie beside the shards
    std::string crop = "random-square";
    double crop_scale_min = 0.9;        // random-resized only
    std::string order = "interleaved";  // "interleaved" | "windows"
    int64_t shuffle_window = 0;         // samples shuffled together; 0 = 16 global batches or more
    int64_t workers = 1;                // decode threads a rank
    std::string caption_key = "txt";    // "txt" | "json:FIELD"
    double max_empty_captions = 0.05;   // a larger share of samples without one stops the start
    double max_replaced = 0.001;        // of the samples seen; 0 = none
    std::string tokenizer;              // "" = the BPE merges shipped beside the program
    std::string mean_std = "clip";      // "clip" | "half"
    int64_t synthetic_samples = 10'000'000;
    std::vector<std::string> synthetic_caption_tokens = {"5-35"};  // lengths, equally likely
  } data;
  struct {
    int64_t global_batch_size = 32768;
    int64_t micro_batch_size = 0;  // 0 = auto
    double epochs = 0;             // one of epochs | steps
    int64_t steps = 0;
    double lr = 5e-4;
    int64_t warmup_steps = 2000;
    double weight_decay = 0.2;
    double beta1 = 0.9;
    double beta2 = 0;           // 0 = the paper's for the model family: 0.98 ViT, 0.999 RN
    double eps = 0;             // 0 = the paper's: 1e-6 ViT, 1e-8 RN
    double grad_clip_norm = 0;  // 0 = off
    double logit_scale_max = 100;
    std::vector<std::string> recompute;  // kinds of blocks: "vit", "text", "resnet"
    std::string precision = "auto";
    int64_t initial_scale_power = 16;  // fp16 only
    std::string moments = "fp32";
    std::string text_weights = "fp32";
    std::string loss = "clip";
    std::string grad_reduce = "fp32";
    std::string overlap = "on";
    int64_t bad_steps_in_a_row = 3;
    int64_t replica_check_steps = 100;  // 0 = off
  } train;
  struct {
    int64_t every_steps = 0;  // 0 = by minutes only
    double every_minutes = 5;
    int64_t keep_last = 3;
    double stall_seconds = 300;  // without one byte of progress before a save is begun anew
  } checkpoint;
  struct {
    std::string zero_shot;  // data set evaluated at the end; "" = none
    int64_t batch_size = 256;
  } eval;
  struct {
    int64_t ranks = 1;
    int64_t threads_per_rank = 0;     // 0 = cores / ranks, at least 1
    int64_t max_restarts = 10;        // after deaths in a row without a new checkpoint
    double outage_minutes = 45;       // of failures of the surroundings without a new checkpoint
    double hang_seconds = 15;         // a rank that computes may make no progress for so long
    double start_seconds = 120;       // ... that starts, reads, saves or waits for data
    double collective_seconds = 600;  // waiting for other ranks before a rank gives up; 0 = never
    std::string mpirun = "mpirun";
    std::vector<std::string> mpirun_args;
  } launcher;
  struct {
    int64_t every_steps = 1;
    double status_seconds = 10;  // a plain progress line at least this often
  } telemetry;
  std::vector<PhaseConfig> phase;

  bool synthetic() const { return data.train == std::vector<std::string>{kSynthetic}; }

  // Where each key's value came from: "default", "file.toml:12", "--set", "--ranks".
  std::map<std::string, std::string> origin;
  std::string file;  // the config file's path as given
};

}  // namespace contrail
