package main

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// newLog returns the log on stderr. For machines it is JSON. For people it is text without
// times, which the journal adds, and only with -v, as the table shows the same.
func newLog(w io.Writer, asJSON, verbose bool) *zap.Logger {
	level := zapcore.InfoLevel
	if verbose {
		level = zapcore.DebugLevel
	}
	if asJSON {
		c := zap.NewProductionEncoderConfig()
		c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		c.EncodeDuration = zapcore.MillisDurationEncoder
		return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(c), zapcore.Lock(zapcore.AddSync(w)), level))
	}
	if !verbose {
		return zap.NewNop()
	}
	c := zap.NewDevelopmentEncoderConfig()
	c.TimeKey = ""
	c.EncodeDuration = zapcore.StringDurationEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(c), zapcore.Lock(zapcore.AddSync(plainLines{w})), level))
}

func logEvent(log *zap.Logger, e report.Event) {
	fields := []zap.Field{zap.String("source", e.Source)}
	if e.Step != "" {
		fields = append(fields, zap.String("step", string(e.Step)), zap.String("phase", string(e.Phase)))
	}
	if e.Detail != "" {
		fields = append(fields, zap.String("detail", e.Detail))
	}
	switch e.Phase {
	case report.Started:
		log.Debug("step started", fields...)
	case report.Waiting:
		if e.Percent != nil {
			log.Info("waiting", append(fields, zap.Duration("took", e.Took), zap.Int("percent", *e.Percent))...)
			return
		}
		log.Debug("waiting", append(fields, zap.Duration("took", e.Took))...)
	case report.Done:
		log.Info("step done", append(fields, zap.Duration("took", e.Took), zap.String("instance_id", e.Identity.InstanceID))...)
	case report.Failed:
		log.Debug("step failed", append(fields, zap.Duration("took", e.Took))...)
	case report.Noted:
		log.Warn("note", fields...)
	}
}

func logCall(log *zap.Logger, c ec2ops.Call) {
	fields := []zap.Field{zap.String("action", c.Action), zap.Duration("took", c.Took)}
	if c.Err != nil {
		fields = append(fields, zap.String("error", failure.Line(c.Err)))
	}
	log.Debug("call", fields...)
}

func logFailure(log *zap.Logger, err error) {
	log.Error(failure.Line(err), zap.Int("exit_code", failure.ExitCode(err)), zap.String("to_do", hint(err)))
}
