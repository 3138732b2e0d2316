#pragma once
// What a checkpoint holds, as plain structs. No torch here.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace contrail::ckpt {

// The three fp32 arrays of every parameter. A weights-only step (an imported model) has the first.
inline constexpr int kNumKinds = 3;
inline constexpr std::array<const char*, kNumKinds> kKindNames = {"weight", "exp_avg",
                                                                  "exp_avg_sq"};

// A parameter's place in the logical flat space: all parameters concatenated, no padding.
struct TensorInfo {
  std::string name;            // state-dict name, as OpenAI's and open_clip's
  std::vector<int64_t> shape;  // row-major; {} is a scalar
  uint64_t begin = 0;          // first element in the flat space
  uint64_t num_elements = 0;
};

struct Layout {
  std::vector<TensorInfo> tensors;  // ascending, gap-free
  uint64_t num_elements = 0;
};

// An array of a model that is no parameter: a running mean or variance of batch norm.
struct NamedArray {
  std::string name;  // state-dict name
  std::vector<int64_t> shape;
  std::vector<float> data;  // row-major
};

struct Range {  // [begin, end) elements of the flat space
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Where a run stands. Together with the tensors this is everything a resume needs.
struct RunState {
  uint64_t step = 0;  // optimizer steps done
  uint64_t samples_seen = 0;
  uint64_t phase = 0;       // index of the [[phase]]
  uint64_t phase_step = 0;  // steps done inside it
  uint64_t world_size = 0;  // ranks that wrote it (information only: loading is elastic)
  uint64_t attempt = 0;
  std::string model;       // registry name
  std::string activation;  // "quick_gelu" | "gelu"
  int64_t resolution = 0;
  std::string mean_std = "clip";  // normalisation of images: "clip" | "half"
  std::string fingerprint;        // TrainingFingerprint(config)
  std::string data_fingerprint;
  std::string parent;          // lineage hash of the step this run went on from; "" = fresh
  double loss = 0;             // of the last step that was not skipped
  uint64_t skipped_steps = 0;  // of all steps: their updates were not applied (NaN, overflow)
  // Samples that all steps took, as one number (data/replace.h), and how many of them took
  // another's place. Counted from the step after `consumed_from`: 0, or where an older program was
  // replaced.
  uint64_t consumed = 0;
  uint64_t consumed_from = 0;
  uint64_t replaced = 0;
  uint64_t updates = 0;            // that the moments have seen; kept where steps were skipped
  std::string config_toml;         // resolved
  std::string precision = "fp32";  // what products computed in; the arrays are fp32 whatever it is
  // What bits depend on besides, each "nobody says" in older checkpoints: samples that a rank
  // encoded at once, and the instruction sets of all ranks ("avx512").
  uint64_t micro_batch = 0;
  std::string instruction_sets;
  // fp16 only: worker/loss_scale.h.
  double loss_scale = 0;
  uint64_t loss_scale_good_steps = 0;
  uint64_t loss_scale_overflows = 0;
};

// Who is who: ranks of one node share one shard file.
struct Topology {
  int rank = 0;
  int size = 1;
  std::vector<int> node_of_rank;  // node index of every rank, consecutive from 0
};

}  // namespace contrail::ckpt
