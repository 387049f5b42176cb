package main

import (
	"errors"
	"fmt"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode reads an object into the type that the API has for it. A field that the type lacks is an
// error, and so is a kind that is not meant to be here: a Secret above all.
func decode(version, kind string, text []byte, scaler *scaler) (any, error) {
	var object any
	switch version + " " + kind {
	case "v1 ConfigMap":
		object = &core.ConfigMap{}
	case "v1 Namespace":
		object = &core.Namespace{}
	case "v1 Service":
		object = &core.Service{}
	case "apps/v1 Deployment":
		object = &apps.Deployment{}
	case "apps/v1 StatefulSet":
		object = &apps.StatefulSet{}
	case "networking.k8s.io/v1 NetworkPolicy":
		object = &networking.NetworkPolicy{}
	case "policy/v1 PodDisruptionBudget":
		object = &policy.PodDisruptionBudget{}
	case "keda.sh/v1alpha1 ScaledObject":
		return scaler.decode(text)
	default:
		return nil, fmt.Errorf("%s %s is not among what we ship", version, kind)
	}
	plain, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	// The API server's own decoder: the one of the standard library would take `readonly…` for
	// `readOnly…`.
	unknown, err := json.UnmarshalStrict(plain, object)
	return object, errors.Join(append(unknown, err)...)
}
