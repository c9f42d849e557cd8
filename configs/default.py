"""Hyperparameters of the original; all other files change these.

Crops of 256x256, global batch 4, 200 epochs.

Command:  bash launch/train_multigpu.sh --config=default --data_dir=DATA --workdir=runs/default
Run time: not measured at this size; it is intended for one or more GPUs.
Result:   not measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.train_split = "train"
    config.data.val_split = "val"  # "": no validation
    # Shares of the training images by the folder of the hazy file, such as "rice1/=1, sots/=2"; "": all pairs alike.
    config.data.mix = ""
    config.data.crop_size = 256
    # 0: plain crops. Above 0: windows of at least this share of each side, resized to crop_size.
    config.data.window_min = 0.0
    config.data.flip = True
    config.data.rot90 = True
    config.data.relight_share = 0.0  # share of the training pairs that are shown in another light (docs/training.md)
    config.data.relight_darkest = 0.3  # its lowest brightness
    config.data.relight_tint = 0.3  # largest loss of one of its colors
    config.data.workers = 0  # decoding threads; 0: one per core
    # auto | local | gfile (for gs:// and other file systems that cannot be memory-mapped)
    config.data.reader = "auto"
    # Decoded images, kept in memory-mapped files: auto (in ~/.cache/hazeheal, if they fit) | off | a directory
    config.data.cache = "auto"
    config.data.max_val_pictures = 0  # 0: the whole split
    # N: validation and samples restore images of more than NxN pixels part by part; 0: 1536, or more for a depth above 5.
    config.data.val_tile_size = 0

    # Synthetic haze on clear images, drawn again for each use of a pair; docs/haze_augmentation.md explains the fields.
    config.data.fresh_haze = ConfigDict()
    config.data.fresh_haze.share = 0.0  # share of the training pairs that get synthetic haze
    config.data.fresh_haze.share_clear = 0.0  # share of the training pairs whose input is the clear image
    config.data.fresh_haze.share_relaid = 0.0  # share of the training pairs whose own haze is changed
    config.data.fresh_haze.relaid_min = 0.5  # factor on the optical thickness of a pair
    config.data.fresh_haze.relaid_max = 2.0
    config.data.fresh_haze.relaid_shift = 0.1  # largest change of a pair's airlight, up or down
    config.data.fresh_haze.relaid_tint = 0.0  # the same for each color channel by itself
    config.data.fresh_haze.kind = "mixed"  # ground: ramps | aerial: clouds | mixed: either
    config.data.fresh_haze.density_min = 0.06  # mean optical thickness of an image
    config.data.fresh_haze.density_max = 1.2
    config.data.fresh_haze.airlight_min = 0.5  # brightness of the haze, 0 to 1
    config.data.fresh_haze.airlight_max = 1.0
    config.data.fresh_haze.tint = 0.06  # largest deviation of the haze from gray
    config.data.fresh_haze.noise = 0.02  # standard deviation of the strongest noise, on white
    config.data.fresh_haze.jpeg_share = 0.5  # share of the synthetic images that are compressed as JPEG
    config.data.fresh_haze.jpeg_quality_min = 60
    config.data.fresh_haze.jpeg_quality_max = 95

    config.model = ConfigDict()
    config.model.width = 64  # scales every channel count
    config.model.depth = 5  # number of halvings
    config.model.norm = "layer"  # none | layer
    config.model.output = "residual"  # residual: hazy + head | scattering: hazy + K hazy - B
    config.model.se_ratio = 0.25  # squeeze-excite; 0: none
    # N: each NxN pixels become the channels of one position; 2 takes a quarter of the time of 1.
    config.model.patch_size = 1
    config.model.view_size = 0  # N: the network sees every image resized to NxN pixels; 0: at its own size
    # With a view and output=scattering: K and B for each of N levels of brightness, at the resolution of the patches; 0: for
    # each pixel of the view.
    config.model.bins = 0
    config.model.edges = "zero"  # what convolutions see beyond the edges: zero | repeat (the outermost pixels)
    config.model.upsampling = "transposed"  # transposed | nearest: a transposed convolution, or repeated pixels
    config.model.disc_width = 64

    config.loss = ConfigDict()
    config.loss.l1_weight = 150.0
    config.loss.gan_weight = 1.0  # 0: no discriminator is computed or trained
    config.loss.perceptual_weight = 0.005
    config.loss.perceptual_weights = "imagenet"  # or the path of a Keras .h5 or an .npz file
    config.loss.perceptual_layer = "block3_conv3"
    config.loss.difference = "charbonnier"  # charbonnier | squared: of restored and clear pixels, in the L1 loss
    config.loss.charbonnier_eps = 1e-3
    config.loss.haze_share = 0.3  # share of the L1 loss that the haze mask weights; the rest is uniform
    config.loss.l1_log_scale = 0.0  # s: the L1 loss L of an image becomes s log(1 + L / s) (`losses.logarithmic`); 0: L
    config.loss.haze_mask = "difference"  # difference | dark_channel

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 2e-4
    config.optimizer.disc_learning_rate = 2e-4
    config.optimizer.beta1 = 0.5
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-7
    config.optimizer.warmup = "0 steps"
    config.optimizer.decay = "constant"  # constant | cosine | linear, to zero at the end of the run
    config.optimizer.clip_norm = 0.0  # by the global norm of each network; 0: no clipping
    config.optimizer.accumulate = 1  # micro-batches per global batch
    # Type of the gradients that replicas exchange: float32, or float16 (half the bytes, with a loss scale).
    config.optimizer.reduce_dtype = "float32"
    config.optimizer.ema_half_life = 2000.0  # in images; 0: no moving average
    config.optimizer.max_skipped = 10  # consecutive non-finite steps before the run stops

    config.train = ConfigDict()
    config.train.batch_size = 4  # global batch
    config.train.epochs = 200.0  # exactly one of epochs and steps is above 0
    config.train.steps = 0
    config.train.steps_per_loop = 0  # steps between two returns to Python; 0: as many as take about a second
    config.train.precision = "auto"  # auto | float32 | mixed_bfloat16 | mixed_float16
    config.train.xla = "auto"  # auto | on | off
    # Intervals: "N steps", "N epochs", "N minutes" or "never". Minutes stretch where an activity takes long.
    config.train.log_every = "0.1 minutes"
    config.train.sample_every = "10 minutes"
    config.train.validate_every = "2 minutes"
    config.train.save_every = "5 minutes"
    config.train.keep = 3  # number of newest checkpoints to keep; the best one is kept too

    config.samples = ConfigDict()
    config.samples.count = 4
    config.samples.max_side = 512  # largest side of an image on a sheet or in TensorBoard, in pixels

    config.profile = ConfigDict()
    config.profile.steps = ""  # "100:110": write a profile of these steps for TensorBoard
    return config
