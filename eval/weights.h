#pragma once
// Weights of a model from a committed step.

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/load.h"
#include "model/clip.h"

namespace contrail::eval {

// A model's parameters as a checkpoint lays them out: concatenated in order, no padding.
ckpt::Layout LayoutOf(const std::vector<model::ParamSpec>& params);

// What a checkpoint of this layout was trained with, as ModelSpec::loss: only "siglip" has a bias.
std::string LossOf(const ckpt::Layout& layout);

// Throws UserError E-CKPT-MODEL where the step holds another model, activation or set of tensors
// than `spec`/`layout`; names the first tensors that differ. E-MEAN-STD: another normalisation.
void CheckModel(const ckpt::StepReader& step, const model::ModelSpec& spec,
                const ckpt::Layout& layout);
// The same, but the step's model may have another resolution, and another name if that is all they
// differ in (ViT-L/14 and ViT-L/14@336).
void CheckModelUpToResolution(const ckpt::StepReader& step, const model::ModelSpec& spec,
                              const ckpt::Layout& layout);

// Elements [range.begin, range.end) of `layout`'s weights from a step that passed
// CheckModelUpToResolution; positions of images are resampled where their number differs.
void ReadResampled(const ckpt::StepReader& step, const ckpt::Layout& layout, ckpt::Range range,
                   float* out);

// All weights of the step, fp32 [layout.num_elements]. `on_progress` is called with every piece.
at::Tensor ReadWeights(const ckpt::StepReader& step, const std::function<void()>& on_progress);

// The step's running statistics, fp32, in the order of `specs`; {} for a model without. Throws
// UserError E-MODEL-STATISTICS where the step lacks one, or has it in another shape.
std::vector<at::Tensor> ReadBuffers(const ckpt::StepReader& step,
                                    const std::vector<model::BufferSpec>& specs);

// Views into `flat` (as ReadWeights returns it), one a parameter.
std::vector<at::Tensor> ViewsOf(const at::Tensor& flat, const ckpt::Layout& layout);

}  // namespace contrail::eval
