"""The original's hyper-parameters: 256x256 crops, batch 4, 200 epochs. Every other config changes this one.

Command:  bash launch/train_multigpu.sh --config=default --data_dir=DATA --workdir=runs/default
Run time: not measured at this size; it is meant for one or more GPUs.
Result:   none measured.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.data = ConfigDict()
    config.data.train_split = "train"
    config.data.val_split = "val"  # "" trains without validation
    config.data.crop_size = 256
    config.data.window_min = (
        0.0  # crops are windows of at least this share of each side, resized; 0: plain crops
    )
    config.data.flip = True
    config.data.rot90 = True
    config.data.workers = 0  # threads that decode; 0: one a core
    config.data.reader = (
        "auto"  # auto | local | gfile (for gs:// and other file systems that cannot be mapped)
    )
    config.data.max_val_pictures = 0  # 0: the whole split

    # Haze made by rule on the clear images, anew each time; docs/haze_augmentation.md says how to choose.
    config.data.fresh_haze = ConfigDict()
    config.data.fresh_haze.share = 0.0  # of the training pairs, in place of their own haze
    config.data.fresh_haze.share_clear = 0.0  # of the training pairs: the clear image itself is the input
    config.data.fresh_haze.share_relaid = 0.0  # of the training pairs: their own haze, laid anew
    config.data.fresh_haze.relaid_min = 0.5  # times its optical thickness
    config.data.fresh_haze.relaid_max = 2.0
    config.data.fresh_haze.relaid_shift = 0.1  # of its airlight, up or down
    config.data.fresh_haze.kind = "mixed"  # ground: ramps | aerial: clouds | mixed: either
    config.data.fresh_haze.density_min = 0.06  # mean optical thickness of an image
    config.data.fresh_haze.density_max = 1.2
    config.data.fresh_haze.airlight_min = 0.5  # the haze's own brightness, 0 to 1
    config.data.fresh_haze.airlight_max = 1.0
    config.data.fresh_haze.tint = 0.06  # how far its color may stray from gray
    config.data.fresh_haze.noise = 0.02  # the camera's strongest, on white
    config.data.fresh_haze.jpeg_share = 0.5  # of the images with fresh haze
    config.data.fresh_haze.jpeg_quality_min = 60
    config.data.fresh_haze.jpeg_quality_max = 95

    config.model = ConfigDict()
    config.model.width = 64  # scales every channel count
    config.model.depth = 5  # number of halvings
    config.model.norm = "layer"  # none | layer | instance | group | batch
    config.model.output = (
        "residual"  # residual: hazy + head | direct: tanh(head) | scattering: hazy + K hazy - B
    )
    config.model.se_ratio = 0.25  # 0 turns squeeze-excite off
    config.model.patch_size = 1  # 2: each 2x2 pixels are the channels of one position; a quarter of the time
    config.model.view_size = (
        0  # the network sees images of any size as so many pixels squared; 0: as they are
    )
    config.model.disc_width = 64

    config.loss = ConfigDict()
    config.loss.l1_weight = 150.0
    config.loss.gan_weight = 1.0  # 0: no discriminator is computed or trained
    config.loss.perceptual_weight = 0.005
    config.loss.perceptual_weights = "imagenet"  # or the path of a Keras .h5 or an .npz
    config.loss.perceptual_layer = "block3_conv3"
    config.loss.charbonnier_eps = 1e-3
    config.loss.haze_share = 0.3  # 0.7 of the whole image, 0.3 weighted by the haze mask
    config.loss.haze_mask = "difference"  # difference | dark_channel
    config.loss.weighting = "fixed"  # fixed | balanced
    config.loss.balanced_gan_share = 0.05  # of the reconstruction's gradient norm at the generator's output
    config.loss.balanced_perceptual_share = 0.2

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 2e-4
    config.optimizer.disc_learning_rate = 2e-4
    config.optimizer.beta1 = 0.5
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-7
    config.optimizer.warmup = "0 steps"
    config.optimizer.decay = "constant"  # constant | cosine | linear, to zero at the end of the run
    config.optimizer.clip_norm = 0.0  # each network by its own global norm; 0: no clipping
    config.optimizer.accumulate = 1  # micro-batches in one global batch
    config.optimizer.reduce_dtype = (
        "float32"  # gradients between replicas; float16: half the bytes, under a loss scale
    )
    config.optimizer.ema_half_life = 2000.0  # images; 0: no average
    config.optimizer.max_skipped = 10  # non-finite steps in a row before the run stops

    config.train = ConfigDict()
    config.train.batch_size = 4  # the global batch
    config.train.epochs = 200.0  # exactly one of epochs and steps is not 0
    config.train.steps = 0
    config.train.steps_per_loop = 10  # steps between two returns to Python
    config.train.precision = "auto"  # auto | float32 | mixed_bfloat16 | mixed_float16
    config.train.xla = "auto"  # auto | on | off
    # Intervals: "N steps", "N epochs", or "never".
    config.train.log_every = "50 steps"
    config.train.sample_every = "10 epochs"
    config.train.validate_every = "5 epochs"
    config.train.save_every = "1 epochs"
    config.train.keep = 3  # newest checkpoints; the best one is kept besides

    config.samples = ConfigDict()
    config.samples.count = 4
    config.samples.max_side = 512  # of one image on a sheet or in TensorBoard

    config.profile = ConfigDict()
    config.profile.steps = ""  # "100:110" writes a profile of these steps for TensorBoard
    return config
