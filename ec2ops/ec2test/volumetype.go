package ec2test

// volumeType holds EC2's limits of a volume type (API reference, CreateVolume). Sizes are
// GiB; a zero maximum means that the parameter is not permitted.
type volumeType struct {
	minSize, maxSize int64
	minIOPS, maxIOPS int64
	iops             int64 // default
	iopsNeeded       bool
	throughput       bool
}

// The limits of gp3 (API reference, CreateVolume). The ratios are from the EBS
// CSI driver (500 IOPS per GiB) and the CDK (0.25 MiB/s per IOPS).
const (
	gp3BaseIOPS       = 3000
	gp3IOPSPerGiB     = 500
	gp3MinThroughput  = 125
	gp3MaxThroughput  = 2000
	gp3IOPSPerMiB     = 4
	minInitialization = 100
	maxInitialization = 300
)

func volumeTypeOf(name string) (volumeType, bool) {
	switch name {
	case "gp3":
		return volumeType{minSize: 1, maxSize: 65536, minIOPS: gp3BaseIOPS, maxIOPS: 80000, iops: gp3BaseIOPS, throughput: true}, true
	case "gp2":
		return volumeType{minSize: 1, maxSize: 16384, iops: 100}, true
	case "io1":
		return volumeType{minSize: 4, maxSize: 16384, minIOPS: 100, maxIOPS: 64000, iopsNeeded: true}, true
	case "io2":
		return volumeType{minSize: 4, maxSize: 65536, minIOPS: 100, maxIOPS: 256000, iopsNeeded: true}, true
	case "st1", "sc1":
		return volumeType{minSize: 125, maxSize: 16384}, true
	case "standard":
		return volumeType{minSize: 1, maxSize: 1024}, true
	}
	return volumeType{}, false
}

// checkVolume checks a requested volume against its type and sets the defaults.
func (s *Server) checkVolume(v *Volume) error {
	t, known := volumeTypeOf(v.Type)
	if !known {
		return fail("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", v.Type)
	}
	if v.Size < t.minSize || v.Size > t.maxSize {
		return fail("InvalidParameterValue", "Volume size %d is not valid for volume type %s: it must be %d to %d GiB.",
			v.Size, v.Type, t.minSize, t.maxSize)
	}
	if v.KMSKeyID != "" && !v.Encrypted {
		return fail("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	if rate := v.InitializationRate; rate != 0 {
		if v.SnapshotID == "" {
			return fail("InvalidParameterCombination", "The parameter VolumeInitializationRate requires the parameter SnapshotId.")
		}
		if rate < minInitialization || rate > maxInitialization {
			return fail("InvalidParameterValue", "Volume initialization rate of %d MiB/s is not valid: it must be %d to %d.",
				rate, minInitialization, maxInitialization)
		}
	}
	if err := t.checkIOPS(v); err != nil {
		return err
	}
	return t.checkThroughput(v)
}

func (t volumeType) checkIOPS(v *Volume) error {
	switch {
	case v.IOPS == 0 && t.iopsNeeded:
		return fail("MissingParameter", "The parameter iops must be specified for %s volumes.", v.Type)
	case v.IOPS == 0:
		v.IOPS = t.iops
		return nil
	case t.maxIOPS == 0:
		return fail("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", v.Type)
	case v.IOPS < t.minIOPS:
		return fail("InvalidParameterValue", "Volume iops of %d is too low; minimum is %d.", v.IOPS, t.minIOPS)
	case v.IOPS > t.maxIOPS:
		return fail("InvalidParameterValue", "Volume iops of %d is too high; maximum is %d.", v.IOPS, t.maxIOPS)
	case v.Type == "gp3" && v.IOPS > max(gp3BaseIOPS, gp3IOPSPerGiB*v.Size):
		return fail("InvalidParameterValue", "Iops to volume size ratio of %d is too high; maximum is %d IOPS per GiB.",
			v.IOPS/v.Size, gp3IOPSPerGiB)
	}
	return nil
}

func (t volumeType) checkThroughput(v *Volume) error {
	switch {
	case !t.throughput && v.Throughput != 0:
		return fail("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", v.Type)
	case !t.throughput:
		return nil
	case v.Throughput == 0:
		v.Throughput = gp3MinThroughput
		return nil
	case v.Throughput < gp3MinThroughput || v.Throughput > gp3MaxThroughput:
		return fail("InvalidParameterValue", "Throughput of %d MiB/s is not valid: it must be %d to %d.",
			v.Throughput, gp3MinThroughput, gp3MaxThroughput)
	case v.Throughput*gp3IOPSPerMiB > v.IOPS:
		return fail("InvalidParameterValue", "Throughput (MiB/s) to iops ratio of %.6f is too high; maximum is 0.250000 MiB/s per iops.",
			float64(v.Throughput)/float64(v.IOPS))
	}
	return nil
}
