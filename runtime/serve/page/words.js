// Every word of the page, in the languages of its users. What the server says stays in English.

export const WORDS = {
  "skip": ["Skip to the content", "跳到内容"],
  "language": ["Language", "语言"],
  "state.ready": ["The server is ready.", "服务器已就绪。"],
  "state.waiting": ["The server is not ready:", "服务器尚未就绪："],
  "state.away": ["The server does not answer.", "服务器没有响应。"],
  "token.title": ["A token is needed", "需要令牌"],
  "token.why": ["This server asks for a token. It is kept until you close this tab.", "此服务器需要令牌。令牌保留到您关闭此标签页为止。"],
  "token.label": ["Token", "令牌"],
  "token.use": ["Use it", "使用"],
  "new.title": ["New video", "新视频"],
  "new.what": ["The person of the photo moves like the person of the video. You see how they fit before the long part begins.", "让照片中的人像视频中的人一样运动。在耗时的部分开始之前，您可以先查看两者是否吻合。"],
  "source": ["What do you have?", "您有什么素材？"],
  "source.video": ["A photo and a video", "一张照片和一段视频"],
  "source.case": ["A case that sa-prepare made", "sa-prepare 制作的素材包"],
  "photo": ["Choose a photo", "选择照片"],
  "photo.hint": ["or drop it here: PNG, JPEG, WebP, BMP. One person, face visible.", "或拖到此处：PNG、JPEG、WebP、BMP。单人，面部可见。"],
  "video": ["Choose a video", "选择视频"],
  "video.hint": ["or drop it here: MP4, MOV, WebM, Matroska, AVI", "或拖到此处：MP4、MOV、WebM、Matroska、AVI"],
  "keypoints": ["Choose keypoints", "选择关键点文件"],
  "keypoints.may": ["poses of another program (.npz), if you have them", "其他程序生成的姿态（.npz），如果有的话"],
  "keypoints.must": ["poses of another program (.npz): this server has no pose networks", "其他程序生成的姿态（.npz）：此服务器没有姿态网络"],
  "case": ["Choose a zip file", "选择 zip 文件"],
  "case.hint": ["or drop it here: the folder of a case, packed", "或拖到此处：打包的素材文件夹"],
  "engines": ["Engine set", "引擎集"],
  "quality": ["Quality", "质量"],
  "quality.exact": ["exact: as published, 25 steps", "exact：与论文代码一致，25 步"],
  "quality.balanced": ["balanced: 15 better placed steps, 0.6 of the time", "balanced：15 个分布更优的步，用时 0.6 倍"],
  "quality.fast": ["fast: 10 steps, most of them by a part of the network, about 0.2 of the time", "fast：10 步，多数只用网络的一部分，用时约 0.2 倍"],
  "quality.draft": ["draft: 6 steps, to see whether it is worth it", "draft：6 步，先看看是否值得"],
  "refine": ["Refine the face", "优化面部"],
  "refine.hint": ["Leads the face to that of the photo. Takes several times as long.", "使面部更接近照片。耗时数倍。"],
  "refine.not": ["This engine set was made without it.", "此引擎集不包含该功能。"],
  "consent.title": ["What you agree to", "您同意的内容"],
  "consent.may": ["Use pictures and videos only if you may: your own, or with the consent of everybody they show.", "只使用您有权使用的图片和视频：您自己的，或已获得画面中每个人的同意。"],
  "consent.not": ["This server does not check who is in a picture, does not mark the result as made by a machine, makes no voices, and hides nobody's face. Say that the result is synthetic when you show it.", "此服务器不会核实图片中的人是谁，不会标注结果由机器生成，不生成声音，也不做匿名处理。展示结果时请说明它是合成的。"],
  "consent.kept": ["Results are kept for {days} days, or until you delete them. Whoever may use this server sees them.", "结果保留 {days} 天，或直到您将其删除。能使用此服务器的人都能看到。"],
  "consent.label": ["I may use these pictures.", "我有权使用这些图片。"],
  "submit": ["Upload and prepare", "上传并准备"],
  "uploading": ["Uploading", "正在上传"],
  "missing.photo": ["Choose a photo.", "请选择照片。"],
  "missing.video": ["Choose a video.", "请选择视频。"],
  "missing.keypoints": ["Choose keypoints: this server has no pose networks.", "请选择关键点文件：此服务器没有姿态网络。"],
  "missing.case": ["Choose a zip file of a case.", "请选择素材包 zip 文件。"],
  "missing.consent": ["Say that you may use these pictures.", "请确认您有权使用这些图片。"],
  "too.large": ["This is more than the server takes: {size} MB.", "超过服务器上限：{size} MB。"],
  "progress": ["Progress", "进度"],
  "warnings": ["Look at this", "请注意"],
  "review.title": ["Do they fit?", "是否吻合？"],
  "review.what": ["The poses should lie on the person of the photo. If they do, start. If not, cancel and choose another photo or video.", "姿态应与照片中的人重合。如果重合就开始；否则请取消，换一张照片或一段视频。"],
  "review.none": ["The preview cannot be played here.", "此处无法播放预览。"],
  "step.what": ["What the video looks like so far, small and approximate", "目前的视频效果（小尺寸、近似）"],
  "step.alt": ["Frames after step {step} of {steps}", "第 {step} / {steps} 步之后的画面"],
  "result": ["Result", "结果"],
  "reference": ["Photo", "照片"],
  "pose": ["Pose", "姿态"],
  "frame": ["Result", "结果"],
  "frame.of": ["Frame {index} of {frames}", "第 {index} / {frames} 帧"],
  "frame.before": ["Previous frame", "上一帧"],
  "frame.after": ["Next frame", "下一帧"],
  "play": ["Play", "播放"],
  "stop": ["Stop", "停止"],
  "download.video": ["Download MP4", "下载 MP4"],
  "download.gif": ["Download GIF", "下载 GIF"],
  "download.frames": ["Download frames (zip)", "下载全部帧（zip）"],
  "download.run": ["Download run.json", "下载 run.json"],
  "run": ["How it was made: run.json", "制作记录：run.json"],
  "start": ["Start", "开始"],
  "cancel": ["Cancel and delete", "取消并删除"],
  "delete": ["Delete", "删除"],
  "close": ["Another video", "再做一个视频"],
  "open": ["Open", "打开"],
  "history": ["Your videos", "您的视频"],
  "history.none": ["There is none yet.", "还没有视频。"],
  "history.more": ["Show more", "显示更多"],
  "sure.title": ["Delete video {id}?", "删除视频 {id}？"],
  "sure.what": ["The work at it stops, and its files are removed for good.", "相关工作将停止，文件将被永久删除。"],
  "sure.no": ["Keep it", "保留"],
  "sure.yes": ["Delete it", "删除"],
  "deleted": ["Video {id} was deleted.", "视频 {id} 已删除。"],
  "job": ["Video {id}", "视频 {id}"],
  "job.about": ["{size}, {frames} frames, {quality}", "{size}，{frames} 帧，{quality}"],
  "status.queued": ["Waiting for its turn", "排队中"],
  "status.paused": ["Paused", "已暂停"],
  "status.preparing": ["Preparing", "准备中"],
  "status.waiting": ["Waiting for your look", "等待您查看"],
  "status.in_progress": ["At work", "生成中"],
  "status.completed": ["Done", "已完成"],
  "status.failed": ["Failed", "失败"],
  "queue.next": ["It is next.", "下一个就是它。"],
  "queue.ahead": ["{ahead} before it.", "前面还有 {ahead} 个。"],
  "left": ["about {time} left of this stage", "本阶段约剩 {time}"],
  "estimate": ["It will take about {time} on this machine.", "在此机器上约需 {time}。"],
  "estimate.none": ["No video was made on this machine yet, so nothing can be said of its time.", "此机器尚未生成过视频，因此无法估计时间。"],
  "seconds": ["{n} s", "{n} 秒"],
  "minutes": ["{n} min", "{n} 分钟"],
  "hours": ["{n} h", "{n} 小时"],
  "stage.queue": ["Queue", "排队"],
  "stage.prepare": ["Prepare", "准备"],
  "stage.look": ["Look", "查看"],
  "stage.sample": ["Sample", "采样"],
  "stage.decode": ["Decode", "解码"],
  "stage.done": ["Done", "完成"],
  "doing.loading networks": ["loading networks", "加载网络"],
  "doing.hashing sources": ["hashing sources", "计算校验和"],
  "doing.reference": ["looking at the photo", "分析照片"],
  "doing.poses": ["finding poses", "提取姿态"],
  "doing.drawing": ["drawing poses", "绘制姿态"],
  "doing.audio": ["copying the audio", "复制音频"],
  "doing.conditioning": ["encoding photo and poses", "编码照片和姿态"],
  "doing.loading unet": ["loading the network", "加载网络"],
  "doing.loading refinement": ["loading the refinement", "加载面部优化"],
  "doing.loading vae_decoder": ["loading the decoder", "加载解码器"],
  "doing.denoising": ["sampling", "采样"],
  "doing.decoding": ["decoding frames", "解码画面"],
  "doing.writing video": ["writing the video", "写入视频"],
};

export const LANGUAGES = ["en", "zh"];
let language = LANGUAGES[0];

export function say(key, values = {}) {
  const words = WORDS[key];
  if (!words) return key.replace(/^doing\./, "");
  return words[LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function setLanguage(chosen) {
  language = LANGUAGES.includes(chosen) ? chosen : LANGUAGES[0];
  document.documentElement.lang = language;
  localStorage.setItem("language", language);
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  return language;
}

export const preferred = () => localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export function duration(seconds) {
  if (seconds < 90) return say("seconds", { n: Math.max(Math.round(seconds), 1) });
  if (seconds < 5400) return say("minutes", { n: Math.round(seconds / 60) });
  return say("hours", { n: (seconds / 3600).toFixed(1) });
}
