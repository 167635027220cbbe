"""The public names by topic; ``__init__.py`` imports each when it is first used."""

# Problems shipped with the library.
from . import problems as problems

# Errors, error bounds and plots.
from .evaluation import plots as plots
from .evaluation.error_estimate import error_estimate as error_estimate
from .evaluation.error_estimate import true_error as true_error
from .evaluation.estimates import ErrorEstimate as ErrorEstimate
from .evaluation.estimates import NoBound as NoBound
from .evaluation.estimates import Norm as Norm
from .evaluation.evaluate import evaluate as evaluate

# Models, their files and reports, and time windows.
from .models.diagnose import diagnose as diagnose
from .models.files import ModelFileError as ModelFileError
from .models.files import read_header as read_header
from .models.files import save as save
from .models.metrics import Errors as Errors
from .models.metrics import FamilyMember as FamilyMember
from .models.metrics import Metrics as Metrics
from .models.model import Model as Model
from .models.model import init_params as init_params
from .models.report import Fit as Fit
from .models.report import StageReport as StageReport
from .models.report import Status as Status
from .models.report import TermReport as TermReport
from .models.report import TrainingInterrupted as TrainingInterrupted
from .models.windows import initial_from as initial_from
from .models.windows import predict_windows as predict_windows

# Geometry.
from .pde import geometry as geometry

# Problems: conditions, derivatives, embeddings, networks, parametric families and samplers.
from .pde.conditions import dirichlet as dirichlet
from .pde.conditions import interface as interface
from .pde.conditions import neumann as neumann
from .pde.conditions import periodic_condition as periodic_condition
from .pde.conditions import robin as robin
from .pde.derivatives import derivative as derivative
from .pde.derivatives import divergence as divergence
from .pde.derivatives import laplacian as laplacian
from .pde.derivatives import two_derivatives as two_derivatives
from .pde.derivatives import two_derivatives_along as two_derivatives_along
from .pde.embedding import periodic_embedding as periodic_embedding
from .pde.embedding import scale_to_unit as scale_to_unit
from .pde.inside import restrict as restrict
from .pde.measurements import data as data
from .pde.networks import MLP as MLP
from .pde.networks import count_parameters as count_parameters
from .pde.parametric import parametric as parametric
from .pde.problem import Problem as Problem
from .pde.problem import Term as Term
from .pde.problem import with_conditions as with_conditions
from .pde.reference_at import reference_at as reference_at
from .pde.sampling import box as box
from .pde.sampling import faces as faces
from .pde.sampling import union as union

# Loading models.
from .problems.load import load as load

# Latency benchmarks and network searches.
from .runs.bench import bench as bench
from .runs.search import Candidate as Candidate
from .runs.search import Search as Search
from .runs.search import search as search
from .runs.search_plan import Budget as Budget
from .runs.search_plan import NetworkFamily as NetworkFamily
from .runs.search_plan import SuccessiveHalving as SuccessiveHalving

# Serving: fast prediction and exports.
from .serving.export.c import export_c as export_c
from .serving.export.compiled import CompiledModel as CompiledModel
from .serving.export.compiled import load_compiled as load_compiled
from .serving.export.onnx import export_onnx as export_onnx
from .serving.export.stablehlo import export_stablehlo as export_stablehlo
from .serving.predict import cast as cast
from .serving.predict import compile_predict as compile_predict
from .serving.trace import UnsupportedPrimitive as UnsupportedPrimitive

# Training: objectives, distillation, stages, checkpoints, diagnostics and sweeps.
from .training.checkpoint import Checkpoint as Checkpoint
from .training.checkpoint import CheckpointError as CheckpointError
from .training.diagnostics import GradientDiagnostics as GradientDiagnostics
from .training.diagnostics import gradient_diagnostics as gradient_diagnostics
from .training.diagnostics import gradient_noise as gradient_noise
from .training.diagnostics import hessian_eigenvalues as hessian_eigenvalues
from .training.diagnostics import hessian_vector_product as hessian_vector_product
from .training.distill import distill as distill
from .training.distill import train_teacher as train_teacher
from .training.fit import fit as fit
from .training.members import members as members
from .training.members import rank as rank
from .training.members import sweep_table as sweep_table
from .training.objective import Objective as Objective
from .training.objective import objective as objective
from .training.plan import ADAPTIVE as ADAPTIVE
from .training.points import sample as sample
from .training.recipes import Recipe as Recipe
from .training.recipes import recipe as recipe
from .training.resampling import Sampling as Sampling
from .training.residuals import loss as loss
from .training.residuals import loss_and_grad as loss_and_grad
from .training.residuals import mean_squares as mean_squares
from .training.residuals import residuals as residuals
from .training.soft_target import gaussian_kl as gaussian_kl
from .training.soft_target import huber as huber
from .training.soft_target import soft_target as soft_target
from .training.stages import LBFGS as LBFGS
from .training.stages import Adam as Adam
from .training.stages import LevenbergMarquardt as LevenbergMarquardt
from .training.stages import SSBroyden as SSBroyden
from .training.stages import Stage as Stage
from .training.stages import StageStep as StageStep
from .training.sweep import Member as Member
from .training.sweep import sweep as sweep
