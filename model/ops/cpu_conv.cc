// Convolutions and their gradients: how they are cut into panels of weights that fit the
// second-level cache, pieces of positions, and threads. Cuts that change the order of a sum (blocks
// of channels, pieces) follow from shapes alone.
#include "common/error.h"
#include "model/ops/cpu_norm.h"

namespace contrail::model {
namespace {

// Columns of a 16-bit output whose fp32 sums one thread holds for a piece, in the room for a head
// of attention.
constexpr int64_t kMixedColumns = 128;
constexpr int64_t kHeadElements = kHeadFloats * kUsualSequence * kernels::kHeadDim;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }
int64_t Out(int64_t size, int64_t stride) { return CeilDiv(size, stride); }

int64_t Side(View w, int64_t channels) {
  CONTRAIL_ASSERT(w.cols == channels || w.cols == 9 * channels);
  return w.cols == channels ? 1 : 3;
}

// Channels that are summed over at a time, in equal blocks of whole cache lines.
int64_t BlockOf(int64_t channels, int64_t most) {
  return RoundUp(CeilDiv(channels, CeilDiv(channels, most)), 16);
}

// Elements of one thread's scratch: the part of its workspace behind what is packed.
template <typename T>
constexpr int64_t kScratch = kUsualAttentionBytes /
                                 static_cast<int64_t>(sizeof(kernels::Compute<T>)) -
                             64;
template <typename T>
constexpr int64_t kPacked = kernels::kPackBytes / static_cast<int64_t>(sizeof(kernels::Compute<T>));
template <typename T>
constexpr bool kIs16Bit = !std::is_same_v<T, kernels::Compute<T>>;

// A convolution or the gradient of its input.
template <typename T>
struct Job {
  const kernels::ConvTable<T>& table;
  const kernels::MixedTable& mixed;
  ConvInput in;
  ImageShape out_shape;
  int64_t kernel = 1, stride = 1;
  View w;
  int64_t w_inputs = 0;  // C of w [N, C k k]
  bool turned = false;   // the gradient: sums over N, writes C
  View out;
  bool add = false;  // to what is in out
  NormSums<T>* statistics = nullptr;
  NormSums<T>* gradient = nullptr;
  const Through* through = nullptr;
};

template <typename T>
kernels::Patches<T> PatchesOf(const ConvInput& in, int64_t kernel, int64_t stride) {
  kernels::Patches<T> patches;
  patches.x = in.x.as<T>();
  patches.x_row = in.x.stride;
  patches.height = in.shape.height;
  patches.width = in.shape.width;
  patches.kernel = kernel;
  patches.stride = stride;
  patches.out_width = Out(in.shape.width, stride);
  return patches;
}

template <typename T>
void SetNorm(const ConvInput& in, int64_t group, kernels::Patches<T>* patches) {
  if (in.norm == nullptr) return;
  patches->scale = StateRow<kernels::Compute<T>>(*in.norm, group, NormRow::kScale);
  patches->shift = StateRow<kernels::Compute<T>>(*in.norm, group, NormRow::kShift);
}

// f(patches, first row, rows): a piece as patches; of 1 x 1 kernels in runs of rows, which need no
// lines around them.
template <typename T, typename F>
void EachRun(const Piece& piece, int64_t run_rows, kernels::Patches<T> patches, const F& f) {
  if (patches.kernel != 1 || patches.stride != 1) {
    patches.image = piece.image;
    patches.images = piece.images;
    patches.line = piece.line;
    patches.lines = piece.lines;
    f(patches, piece.row, piece.rows);
    return;
  }
  const T* x = patches.x;
  for (int64_t row = piece.row; row < piece.row + piece.rows; row += run_rows) {
    const int64_t rows = std::min(run_rows, piece.row + piece.rows - row);
    patches.x = x + row * patches.x_row;
    patches.height = 1;
    patches.width = patches.out_width = rows;
    f(patches, row, rows);
  }
}

// Which group of the input's norm a piece of the output lies in.
int64_t GroupOf(const ConvInput& in, const Piece& piece) {
  return in.norm == nullptr ? 0 : piece.image / (in.shape.count / in.norm->groups);
}

// Adds the sums that a piece's final rows contribute.
template <typename T>
void AddSums(const Job<T>& job, int64_t piece, int64_t row, int64_t rows, int64_t column,
             int64_t columns) {
  if (job.statistics != nullptr) job.statistics->AddStatistics(piece, row, rows, column, columns);
  if (job.gradient != nullptr) {
    job.gradient->AddThrough(*job.through, job.out, piece, row, rows, column, columns);
  }
}

// One thread's part: pieces [begin, end) of columns [first, first + many).
template <typename T>
void RunPart(const Job<T>& job, const Pieces& pieces, int64_t begin, int64_t end, int64_t first,
             int64_t many) {
  using C = kernels::Compute<T>;
  const int64_t channels = job.in.x.cols, block = BlockOf(channels, job.kernel == 1 ? 256 : 64);
  const int64_t depth = job.kernel * job.kernel * block;
  const int64_t most = kIs16Bit<T> ? kMixedColumns : job.kernel == 1 ? 512 : 256;
  const int64_t panel = std::min<int64_t>(most, kPacked<T> / depth / 64 * 64);
  const Workspace workspace = ThreadWorkspace();
  C* const packed = static_cast<C*>(workspace.pack);
  C* const scratch = static_cast<C*>(workspace.attention);
  const auto pack = job.turned ? job.table.pack_turned : job.table.pack_weight;
  for (int64_t column = first; column < first + many; column += panel) {
    const int64_t columns = std::min(panel, first + many - column);
    kernels::ConvPiece<T> part;
    part.in = PatchesOf<T>(job.in, job.kernel, job.stride);
    part.b = packed;
    part.columns = columns;
    const auto pack_block = [&](int64_t channel) {
      part.in.channel = channel;
      part.in.channels = std::min(block, channels - channel);
      pack(job.w.template as<T>(), job.w_inputs, job.kernel, channel, part.in.channels, column,
           columns, packed);
    };
    if constexpr (kIs16Bit<T>) {
      // What sums over all channels stays fp32 in this thread's memory, a piece at a time.
      part.out_row = columns;
      const Rows16 convert(job.mixed);
      for (int64_t i = begin; i < end; ++i) {
        const Piece piece = pieces.At(i);
        C* const sums = workspace.head;
        CONTRAIL_ASSERT(piece.rows * columns <= kHeadElements);
        if (job.add) {
          for (int64_t r = 0; r < piece.rows; ++r) {
            convert.ToFloat(job.out, piece.row + r, column, columns, sums + r * columns);
          }
        }
        SetNorm(job.in, GroupOf(job.in, piece), &part.in);
        for (int64_t channel = 0; channel < channels; channel += block) {
          if (i == begin || channels > block) pack_block(channel);
          part.add = job.add || channel > 0;
          EachRun<T>(piece, kernels::kSumRows, part.in,
                     [&](const kernels::Patches<T>& patches, int64_t row, int64_t) {
                       kernels::ConvPiece<T> run = part;
                       run.in = patches;
                       run.out = sums + (row - piece.row) * columns;
                       job.table.convolve(run, scratch);
                     });
        }
        for (int64_t r = 0; r < piece.rows; ++r) {
          convert.FromFloat(sums + r * columns, job.out, piece.row + r, column, columns);
        }
        AddSums(job, i, piece.row, piece.rows, column, columns);
      }
    } else {
      part.out_row = job.out.stride;
      for (int64_t channel = 0; channel < channels; channel += block) {
        pack_block(channel);
        part.add = job.add || channel > 0;
        const bool last = channel + part.in.channels == channels;
        for (int64_t i = begin; i < end; ++i) {
          const Piece piece = pieces.At(i);
          SetNorm(job.in, GroupOf(job.in, piece), &part.in);
          EachRun<T>(piece, kernels::kSumRows, part.in,
                     [&](const kernels::Patches<T>& patches, int64_t row, int64_t rows) {
                       kernels::ConvPiece<T> run = part;
                       run.in = patches;
                       run.out = RowOf<T>(job.out, row) + column;
                       job.table.convolve(run, scratch);
                       if (last) AddSums(job, i, row, rows, column, columns);
                     });
        }
      }
    }
  }
}

template <typename T>
void CheckScratch(const ImageShape& in, const Pieces& pieces, int64_t kernel, int64_t stride,
                  int64_t block) {
  const Piece piece = pieces.At(0);
  const int64_t lines = piece.images * ((piece.lines - 1) * stride + kernel);
  const int64_t position = lines * (in.width + kernel - 1) * block;
  CONTRAIL_ASSERT(kernel == 1 || position + (piece.rows + 16) * kernels::kConvRows <= kScratch<T>);
}

// Threads share pieces where there are enough of them, else columns too: then each packs its own
// part of the weights.
template <typename T>
void RunJob(const Job<T>& job, int64_t groups) {
  const Pieces pieces(job.out_shape, groups);
  CheckScratch<T>(job.in.shape, pieces, job.kernel, job.stride, 64);
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const int64_t sliver = 64;
  int64_t column_parts = 1;
  if (pieces.count() < 8 * threads) {
    column_parts = std::min(threads, std::max<int64_t>(1, job.out.cols / sliver));
  }
  const int64_t columns = RoundUp(CeilDiv(job.out.cols, column_parts), sliver);
  column_parts = CeilDiv(job.out.cols, columns);
  const int64_t rows = CeilDiv(pieces.count(), std::max<int64_t>(1, threads / column_parts));
  const int64_t row_parts = CeilDiv(pieces.count(), rows);
  ParallelFor(0, column_parts * row_parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task / column_parts * rows, column = task % column_parts * columns;
      RunPart(job, pieces, first, std::min(first + rows, pieces.count()), column,
              std::min(columns, job.out.cols - column));
    }
  });
}

// One thread's part of a weight's gradient: units [begin, end) of one block of channels.
template <typename T>
void GradientPart(const kernels::ConvTable<T>& table, const ConvInput& in, const Pieces& pieces,
                  View d_out, kernels::ConvGradientPiece<T> part, View d_w) {
  using C = kernels::Compute<T>;
  const Workspace workspace = ThreadWorkspace();
  const int64_t kernel = part.in.kernel, n = kernel * part.in.channels;
  part.sums = static_cast<C*>(workspace.pack);
  part.d_out_row = d_out.stride;
  part.outputs = d_out.cols;
  CONTRAIL_ASSERT((part.end - part.begin) * kernels::kConvRows * n <= kPacked<T>);
  std::fill_n(part.sums, (part.end - part.begin) * kernels::kConvRows * n, C{0});
  for (int64_t i = 0; i < pieces.count(); ++i) {
    const Piece piece = pieces.At(i);
    SetNorm(in, GroupOf(in, piece), &part.in);
    EachRun<T>(piece, 2 * kernels::kSumRows, part.in,
               [&](const kernels::Patches<T>& patches, int64_t row, int64_t) {
                 kernels::ConvGradientPiece<T> run = part;
                 run.in = patches;
                 run.d_out = RowOf<T>(d_out, row);
                 table.convolve_gradient(run, static_cast<C*>(workspace.attention));
               });
  }
  for (int64_t unit = part.begin; unit < part.end; ++unit) {
    const int64_t output = unit / kernel * kernels::kConvRows, line = unit % kernel;
    for (int64_t r = 0; r < std::min(kernels::kConvRows, d_out.cols - output); ++r) {
      const C* sums = part.sums + ((unit - part.begin) * kernels::kConvRows + r) * n;
      C* to = RowOf<C>(d_w, output + r) + part.in.channel * kernel * kernel + line * kernel;
      for (int64_t tap = 0; tap < kernel; ++tap) {
        for (int64_t c = 0; c < part.in.channels; ++c) {
          to[c * kernel * kernel + tap] += sums[tap * part.in.channels + c];
        }
      }
    }
  }
}

}  // namespace

void CpuOpTable::Convolve(const ConvInput& in, View w, int64_t stride, View out,
                          const BatchNorm* norm) const {
  const ImageShape to{in.shape.count, Out(in.shape.height, stride), Out(in.shape.width, stride)};
  CONTRAIL_ASSERT(in.x.rows == in.shape.rows() && out.rows == to.rows() && out.cols == w.rows);
  ByKernel(in.x.type, [&]<typename T>() {
    Job<T> job{.table = ConvKernels<T>(), .mixed = mixed_, .in = in, .out_shape = to};
    job.kernel = Side(w, in.x.cols);
    job.stride = stride;
    job.w = w;
    job.w_inputs = in.x.cols;
    job.out = out;
    std::optional<NormSums<T>> sums;
    if (norm != nullptr) {
      CONTRAIL_ASSERT(norm->x.data == out.data);
      job.statistics = &sums.emplace(*norm, job.table);
    }
    RunJob(job, norm != nullptr ? norm->groups : in.norm != nullptr ? in.norm->groups : 1);
    if (sums) sums->FinishStatistics();
  });
}

void CpuOpTable::ConvolveBackwardInput(View d_out, View w, const ImageShape& in, bool add, View d_x,
                                       const Through* through) const {
  CONTRAIL_ASSERT(d_out.rows == in.rows() && d_x.rows == in.rows() && d_out.cols == w.rows);
  ByKernel(d_out.type, [&]<typename T>() {
    Job<T> job{.table = ConvKernels<T>(), .mixed = mixed_, .in = {d_out, in}, .out_shape = in};
    job.kernel = Side(w, d_x.cols);
    job.w = w;
    job.w_inputs = d_x.cols;
    job.turned = true;
    job.out = d_x;
    job.add = add;
    job.through = through;
    std::optional<NormSums<T>> sums;
    if (through != nullptr) job.gradient = &sums.emplace(*through->norm, job.table);
    RunJob(job, through != nullptr ? through->norm->groups : 1);
    if (sums) sums->FinishThrough();
  });
}

void CpuOpTable::ConvolveBackwardWeight(const ConvInput& in, int64_t stride, View d_out,
                                        View d_w) const {
  const ImageShape to{in.shape.count, Out(in.shape.height, stride), Out(in.shape.width, stride)};
  CONTRAIL_ASSERT(d_out.rows == to.rows() && in.x.rows == in.shape.rows());
  ByKernel(d_out.type, [&]<typename T>() {
    const int64_t channels = in.x.cols, kernel = Side(d_w, channels);
    const Pieces pieces(to, in.norm != nullptr ? in.norm->groups : 1);
    const int64_t block = BlockOf(channels, kernel == 1 ? 256 : 64);
    CheckScratch<T>(in.shape, pieces, kernel, stride, block);
    // Units of work: a tile of outputs, a line of taps, a block of channels (slowest).
    const int64_t units = CeilDiv(d_out.cols, kernels::kConvRows) * kernel;
    constexpr int64_t kUnitsAtOnce = 48;
    ParallelFor(0, units * CeilDiv(channels, block), 1, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t base = begin / units * units;
        const int64_t stop = std::min({end, base + units, begin + kUnitsAtOnce});
        kernels::ConvGradientPiece<T> part;
        part.in = PatchesOf<T>(in, kernel, stride);
        part.in.channel = base / units * block;
        part.in.channels = std::min(block, channels - part.in.channel);
        part.begin = begin - base;
        part.end = stop - base;
        GradientPart(ConvKernels<T>(), in, pieces, d_out, part, d_w);
        begin = stop;
      }
    });
  });
}

}  // namespace contrail::model
